"""A blueprint with the accounts service among its own: for those who look at all outboxes alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from waybill.blueprints.definition import Service
from waybill.edge.accounts.domain import AccountRegistered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.blueprints.definition import Blueprint, WireCodec

NAME: Final = "accounts-service"
DATABASE: Final = "accounts"
TOPIC: Final = "account-events"
EVENT_NAME: Final = "AccountRegistered"


def with_accounts(blueprint: Blueprint) -> Blueprint:
    """To look at, not to run: nobody reads what that service publishes."""
    topics = cast("Any", {**blueprint.topics, TOPIC: (AccountRegistered,)})
    codec = _Names(blueprint.codec())
    return replace(
        blueprint,
        topics=topics,
        services={**blueprint.services, NAME: Service(NAME, (TOPIC,), {})},
        codec=lambda: cast("WireCodec", codec),
    )


class _Names:
    """A codec that also knows what the accounts' event is called."""

    def __init__(self, codec: WireCodec) -> None:
        self._codec = codec

    def names(self, types: Iterable[type]) -> frozenset[str]:
        """See Codec."""
        asked = set(types)
        also = {EVENT_NAME} if AccountRegistered in asked else set[str]()
        return self._codec.names(asked - {AccountRegistered}) | also

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the codec has it
        return getattr(self._codec, name)
