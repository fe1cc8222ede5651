"""Flat JSON on the wire: an event is one object with its type and version beside its members.

A form is the struct that stands on the wire and the two functions between it and the event. What
is no such object is refused with UndecodableMessageError and no other error.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.blueprints.forms import FormCodec, undecodable
from waybill.blueprints.versions import RAISES, newer, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
    def topic(self) -> str:
        """Of the same name."""
        return self.name

    @property
    def version(self) -> int:
        """Today's."""
        return VERSION + len(self.upcasts)


class FlatCodec(FormCodec[Form]):
    """Codec of these forms."""

    def __init__(self, forms: Iterable[Form]) -> None:
        super().__init__({form.event.__name__: form for form in forms})
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._decoders = {
            name: msgspec.json.Decoder(form.struct) for name, form in self._by_name.items()
        }

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - see WireCodec
        """See WireCodec."""
        return self._form(event).struct

    def encode(self, event: object, message: Message) -> bytes:
        """See Codec."""
        return self._encoder.encode(self._form(type(event)).write(event, message))

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        form = self._by_name.get(message.type)
        if form is None:
            return None
        if message.version > form.version:
            raise undecodable(message, newer(message.version, form.version))
        try:
            written = self._read(form, message)
            if written.event_type != message.type or written.version != form.version:
                raise undecodable(message, f"it is {written.event_type} {written.version}")
            return form.read(written)
        except RAISES as error:
            raise undecodable(message, str(error)) from error

    def _read(self, form: Form, message: Message) -> Any:  # noqa: ANN401 - the form's struct
        if message.version == form.version:
            return self._decoders[message.type].decode(message.value)
        members = _members(message.value)
        if members.get("version") != message.version:
            raise ValueError(f"it says version {members.get('version')!r}")
        members = raised(form.upcasts, message.version, members)
        return msgspec.convert({**members, "version": form.version}, form.struct)
