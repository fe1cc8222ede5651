"""Events in seed 003's envelope, under names and with payloads of a document's own.

A form is the struct that stands as the payload and the two functions between it and the event.
What is no such envelope is refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.blueprints.wire import VERSION, Read, Written, problem_of
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

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


class PayloadCodec:
    """Codec of these forms. Events are known by their canonical name, whoever made their class."""

    def __init__(self, forms: Iterable[Payload]) -> None:
        self._forms = {form.event.__name__: form for form in forms}
        self._by_name = {form.name: form for form in self._forms.values()}
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        envelope: Any = Read
        self._decoders: dict[str, msgspec.json.Decoder[Read[Any]]] = {
            name: msgspec.json.Decoder(envelope[form.struct])
            for name, form in self._by_name.items()
        }

    def topic(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).topic

    def type_name(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).name

    def version(self, event: object) -> int:  # noqa: ARG002 - one version so far
        """See Codec."""
        return VERSION

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - an alias of a struct
        """See WireCodec."""
        envelope: Any = Written
        return envelope[self._form(event).struct]

    def written_version(self, event: type[Event]) -> int:
        """See WireCodec."""
        self._form(event)
        return VERSION

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

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._form(event).topic for event in types)

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._form(event).name for event in types)

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        form = self._by_name.get(message.type)
        if form is None:
            return None
        if message.version > VERSION:
            raise _undecodable(message, f"version {message.version} is newer than this reader's")
        try:
            read = self._decoders[message.type].decode(message.value)
            if read.event_type != message.type or read.version != VERSION:
                raise _undecodable(message, f"it is {read.event_type} {read.version}")
            event = form.read(read.payload)
            # A form that reads for itself has looked at what the books must not hold.
            plain = form.read is _as_it_is
            problem = problem_of(event, message.value) if plain else None
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise _undecodable(message, str(error)) from error
        if problem:
            raise _undecodable(message, problem)
        return event

    def _form(self, event: type) -> Payload:
        try:
            return self._forms[event.__name__]
        except KeyError:
            raise ConfigurationError(
                f"{event.__name__} is not registered with this codec"
            ) from None


def _undecodable(message: Message, reason: str) -> UndecodableMessageError:
    return UndecodableMessageError(
        f"{message.type} {message.id}: {reason}", message_ids=[message.id]
    )
