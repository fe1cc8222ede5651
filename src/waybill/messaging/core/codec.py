"""Codecs: an event of the user's types to a message's value and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from waybill.messaging.core.message import Message


class Codec(Protocol):
    """What a topic's values look like."""

    def topic(self, event: object) -> str:
        """The topic that this event goes to. Raises ConfigurationError for a foreign type."""

    def type_name(self, event: object) -> str:
        """Its type's name on the wire."""

    def version(self, event: object) -> int:
        """The version of its schema."""

    def encode(self, event: object, message: Message) -> bytes:
        """The record's value; `message` is the envelope, its own value still empty."""

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """The topics that these event types stand in. Raises ConfigurationError as `names`."""

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """The wire names of these event types: a consumer skips all others without decoding.

        Raises ConfigurationError for a foreign type, so a consumer refuses to start.
        """

    def decode(self, message: Message) -> object | None:
        """The event; None for a type that nobody here knows (it is skipped, C9).

        Raises UndecodableMessageError: bytes that are no such event, or a newer version.
        """


@dataclass(frozen=True)
class EventType:
    """One event type on the wire. `upcasts[n]` turns raw data of version n into version n + 1."""

    struct: type
    topic: str
    name: str
    version: int = 1
    upcasts: Mapping[int, Callable[[dict[str, object]], dict[str, object]]] | None = None


class JsonCodec:
    """Values are the event as plain JSON; the envelope travels in columns or headers."""

    def __init__(self, types: Sequence[EventType]) -> None:
        self._by_struct = {event_type.struct: event_type for event_type in types}
        self._by_name = {event_type.name: event_type for event_type in types}
        if len(self._by_name) != len(types):
            message = "two event types share one name; give each its own"
            raise ConfigurationError(message)
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        self._decoders: dict[str, msgspec.json.Decoder[object]] = {
            t.name: msgspec.json.Decoder(t.struct) for t in types
        }

    def _of(self, event: object) -> EventType:
        return self._of_struct(type(event))

    def _of_struct(self, struct: type) -> EventType:
        try:
            return self._by_struct[struct]
        except KeyError:
            message = f"{struct.__name__} is not registered with this codec"
            raise ConfigurationError(message) from None

    def topic(self, event: object) -> str:
        """See Codec."""
        return self._of(event).topic

    def type_name(self, event: object) -> str:
        """See Codec."""
        return self._of(event).name

    def version(self, event: object) -> int:
        """See Codec."""
        return self._of(event).version

    def encode(self, event: object, message: Message) -> bytes:  # noqa: ARG002 - no envelope here
        """See Codec."""
        return self._encoder.encode(event)

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._of_struct(struct).topic for struct in types)

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._of_struct(struct).name for struct in types)

    def decode(self, message: Message) -> object | None:
        """See Codec."""
        known = self._by_name.get(message.type)
        if known is None:
            return None
        if message.version > known.version:
            reason = (
                f"{message.type} {message.id} has version {message.version}, this reader knows "
                f"{known.version}: deploy a newer reader, then redrive it"
            )
            raise UndecodableMessageError(reason, message_ids=[message.id])
        try:
            if message.version == known.version:
                return self._decoders[message.type].decode(message.value)
            return self._upcast(known, message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = f"{message.type} {message.id}: {error}"
            raise UndecodableMessageError(reason, message_ids=[message.id]) from error

    def _upcast(self, known: EventType, message: Message) -> object:
        data = msgspec.json.decode(message.value, type=dict[str, object])
        for version in range(message.version, known.version):
            upcast = (known.upcasts or {}).get(version)
            if upcast is None:
                reason = f"{message.type} {message.id}: no upcast from version {version}"
                raise UndecodableMessageError(reason, message_ids=[message.id])
            data = upcast(data)
        event: object = msgspec.convert(data, known.struct)
        return event
