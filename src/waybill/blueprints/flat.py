"""Flat JSON on the wire: an event is one object with its type and version beside its members.

A form is the struct that stands on the wire and the two functions between it and the event. What
is no such object is refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import Message

VERSION = 1


@dataclass(frozen=True)
class Form:
    """How an event stands in its topic. `read` raises ValueError for what the books must not hold.

    The topic is named as the type.
    """

    event: type[Event]
    name: str
    struct: type[msgspec.Struct]
    write: Callable[[Any, Message], msgspec.Struct]
    read: Callable[[Any], Event]


class FlatCodec:
    """Codec of these forms. Events are known by their canonical name, whoever made their class."""

    def __init__(self, forms: Iterable[Form]) -> None:
        self._forms: Mapping[str, Form] = {form.event.__name__: form for form in forms}
        self._by_name = {form.name: form for form in self._forms.values()}
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._decoders = {
            name: msgspec.json.Decoder(form.struct) for name, form in self._by_name.items()
        }

    def topic(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).name

    def type_name(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).name

    def version(self, event: object) -> int:  # noqa: ARG002 - one version so far
        """See Codec."""
        return VERSION

    def encode(self, event: object, message: Message) -> bytes:
        """See Codec."""
        return self._encoder.encode(self._form(type(event)).write(event, message))

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._form(event).name for event in types)

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
            written: Any = self._decoders[message.type].decode(message.value)
            if written.event_type != message.type or written.version != VERSION:
                raise _undecodable(message, f"it is {written.event_type} {written.version}")
            return form.read(written)
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise _undecodable(message, str(error)) from error

    def _form(self, event: type) -> Form:
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
