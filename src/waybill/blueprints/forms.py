"""What codecs of a document's own forms share: the form of an event, by its canonical name.

Events are known by their name whoever made their class, and may share one on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from waybill.commerce.contracts import Event
    from waybill.messaging.core.message import Message


class Placed(Protocol):
    """Where a form stands."""

    @property
    def topic(self) -> str:
        """In which topic."""

    @property
    def name(self) -> str:
        """Under which type."""

    @property
    def version(self) -> int:
        """In which version it is written."""


F = TypeVar("F", bound=Placed)


class FormCodec(Generic[F]):
    """The part of a codec that follows from its forms alone."""

    def __init__(self, forms: Mapping[str, F]) -> None:
        """`forms` by the events' canonical names."""
        self._forms = forms
        self._by_name = {form.name: form for form in forms.values()}

    def topic(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).topic

    def type_name(self, event: object) -> str:
        """See Codec."""
        return self._form(type(event)).name

    def version(self, event: object) -> int:
        """See Codec."""
        return self._form(type(event)).version

    def written_version(self, event: type[Event]) -> int:
        """See WireCodec."""
        return self._form(event).version

    def topics(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._form(event).topic for event in types)

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        return frozenset(self._form(event).name for event in types)

    def _form(self, event: type) -> F:
        try:
            return self._forms[event.__name__]
        except KeyError:
            raise ConfigurationError(
                f"{event.__name__} is not registered with this codec"
            ) from None


def undecodable(message: Message, reason: str) -> UndecodableMessageError:
    """What a codec refuses a message with."""
    return UndecodableMessageError(
        f"{message.type} {message.id}: {reason}", message_ids=[message.id]
    )
