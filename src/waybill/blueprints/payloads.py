"""Events in seed 003's envelope, under names and with payloads of a document's own.

A form is the struct that stands as the payload and the two functions between it and the event.
What is no such envelope is refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.blueprints.forms import FormCodec, undecodable
from waybill.blueprints.wire import VERSION, Read, Written, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import Message


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 - an event that is its own payload
    return value


@dataclass(frozen=True)
class Payload:
    """How an event stands in its topic; by default it is its own payload.

    Two events may share a name, with one struct and one `read` that tells them apart. `read`
    raises ValueError for what the books must not hold.
    """

    event: type[Event]
    topic: str
    name: str
    struct: type[msgspec.Struct]
    write: Callable[[Any], msgspec.Struct] = _as_it_is
    read: Callable[[Any], Event] = _as_it_is
    version: int = VERSION
    """The one that there is so far."""


class PayloadCodec(FormCodec[Payload]):
    """Codec of these forms."""

    def __init__(self, forms: Iterable[Payload]) -> None:
        super().__init__({form.event.__name__: form for form in forms})
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        envelope: Any = Read
        self._decoders: dict[str, msgspec.json.Decoder[Read[Any]]] = {
            name: msgspec.json.Decoder(envelope[form.struct])
            for name, form in self._by_name.items()
        }

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - an alias of a struct
        """See WireCodec."""
        envelope: Any = Written
        return envelope[self._form(event).struct]

    def encode(self, event: object, message: Message) -> bytes:
        """See Codec."""
        envelope = Written(
            message.id,
            message.type,
            message.occurred_at,
            message.correlation_id,
            message.causation_id,
            message.version,
            self._form(type(event)).write(event),
        )
        return self._encoder.encode(envelope)

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        form = self._by_name.get(message.type)
        if form is None:
            return None
        if message.version > VERSION:
            raise undecodable(message, f"version {message.version} is newer than this reader's")
        try:
            read = self._decoders[message.type].decode(message.value)
            if read.event_type != message.type or read.version != VERSION:
                raise undecodable(message, f"it is {read.event_type} {read.version}")
            event = form.read(read.payload)
            # A form that reads for itself has looked at what the books must not hold.
            plain = form.read is _as_it_is
            problem = problem_of(event, message.value) if plain else None
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise undecodable(message, str(error)) from error
        if problem:
            raise undecodable(message, problem)
        return event
