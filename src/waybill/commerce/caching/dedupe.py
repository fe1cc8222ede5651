"""`dedupe:<eventId>:<consumer>`: that an event was applied, written after the commit that did.

For operators, and nobody else reads it: the claim in the inbox decides, in the transaction of the
effects (protocol C13), and costs the same whatever stands here. So a lost, old or invented entry
changes no effect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.unit import Received, UnitOfWork

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.commerce.caching.cache import WriteBehind

DAY_SECONDS: Final = 86_400.0
"""Of an entry."""

Handle = Callable[[UnitOfWork, Sequence[Received]], Awaitable[None]]


def name_of(event_id: UUID, consumer: str) -> str:
    """The key: several consumers of one event, on one Redis, have one each."""
    return f"dedupe:{event_id}:{consumer}"


class DedupeCache:
    """Tells which events a consumer has applied. What it writes, it does not read."""

    def __init__(
        self,
        writes: WriteBehind,
        *,
        consumer: str,
        lifetime_seconds: float = DAY_SECONDS,
    ) -> None:
        self._writes = writes
        self._consumer = consumer
        self._lifetime_seconds = lifetime_seconds

    def remember(self, ids: Sequence[UUID]) -> None:
        """Call it after the commit that applied them."""
        for each in ids:
            self._writes.later(
                name_of(each, self._consumer),
                self._consumer.encode(),
                seconds=self._lifetime_seconds,
            )

    def remembering(self, handle: Handle) -> Handle:
        """The handler, with what it applied remembered after its commit."""

        async def remembered(unit: UnitOfWork, received: Sequence[Received]) -> None:
            await handle(unit, received)
            ids = [item.message.id for item in received]
            unit.on_commit(lambda: self.remember(ids))

        return remembered
