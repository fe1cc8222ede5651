"""Flat JSON on the wire: an event is one object with its type and version beside its members.

A form is the struct that stands on the wire and the two functions between it and the event. What
is no such object is refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.blueprints.versions import RAISES, newer, raised
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waybill.blueprints.versions import Upcast
    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import Message

VERSION = 1
"""Of an event that has had no other."""

_members = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


@dataclass(frozen=True)
class Form:
    """How an event stands in its topic. `read` raises ValueError for what the books must not hold.

    The topic is named as the type. `upcasts`: what turns the object of version 1 into that of 2,
    of 2 into 3 and so on, but for `version` itself.
    """

    event: type[Event]
    name: str
    struct: type[msgspec.Struct]
    write: Callable[[Any, Message], msgspec.Struct]
    read: Callable[[Any], Event]
    upcasts: tuple[Upcast, ...] = ()

    @property
    def version(self) -> int:
        """Today's."""
        return VERSION + len(self.upcasts)


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

    def version(self, event: object) -> int:
        """See Codec."""
        return self._form(type(event)).version

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - see WireCodec
        """See WireCodec."""
        return self._form(event).struct

    def written_version(self, event: type[Event]) -> int:
        """See WireCodec."""
        return self._form(event).version

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
        if message.version > form.version:
            raise _undecodable(message, newer(message.version, form.version))
        try:
            written = self._read(form, message)
            if written.event_type != message.type or written.version != form.version:
                raise _undecodable(message, f"it is {written.event_type} {written.version}")
            return form.read(written)
        except RAISES as error:
            raise _undecodable(message, str(error)) from error

    def _read(self, form: Form, message: Message) -> Any:  # noqa: ANN401 - the form's struct
        if message.version == form.version:
            return self._decoders[message.type].decode(message.value)
        members = _members(message.value)
        if members.get("version") != message.version:
            raise ValueError(f"it says version {members.get('version')!r}")
        members = raised(form.upcasts, message.version, members)
        return msgspec.convert({**members, "version": form.version}, form.struct)

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
