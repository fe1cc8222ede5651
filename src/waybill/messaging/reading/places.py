"""Where a consumer's next read of an outbox begins, by an operator's word (protocol D4, L6).

The same on every engine; what differs is how a reader is registered and what a consumer keeps.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.standing import Registration

logger = logging.getLogger(__name__)

Place = Literal["horizon", "end"] | int
"""An integer is the last seq that counts as read, in every lane."""


class ConsumerPlaces(ABC):
    """`source` is opened as its reader role (or owner), `consuming` as the consumer's service role.

    Both may be done while the consumer runs: its lease is void, so it drops what it holds and
    starts again. The inbox leaves out what was applied before, while its rows last.
    """

    @abstractmethod
    async def topics(
        self, consuming: Database, consumer: str, source_name: str
    ) -> Sequence[str] | None:
        """What it read of this source; None if it never did."""

    @abstractmethod
    async def register(
        self,
        source: Database,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
    ) -> Registration:
        """See Source.register: from these positions on, or where it is."""

    @abstractmethod
    async def ends(self, source: Database) -> Sequence[int]:
        """The last seq of each lane, 0 if it has none."""

    @abstractmethod
    async def begin(
        self,
        consuming: Database,
        consumer: str,
        source_name: str,
        positions: Sequence[int],
        now: Registration,
    ) -> None:
        """Let its row stand there, without a lease and without ids of rows at the positions."""

    @abstractmethod
    async def ensure(
        self, consuming: Database, consumer: str, source_name: str, topics: Sequence[str]
    ) -> None:
        """Its row, if it has none."""

    async def reset(
        self,
        consuming: Database,
        source: Database,
        *,
        consumer: str,
        source_name: str,
        to: Place,
    ) -> tuple[int, ...]:
        """Read this source again from there (or skip to there); the new positions by lane.

        Raises ConfigurationError if there is no such place, or it never read that source.
        """
        topics = await self.topics(consuming, consumer, source_name)
        if topics is None:
            raise ConfigurationError(
                f"{consumer} has never read {source_name}: see waybill consumers list"
            )
        now = await self.register(source, consumer, topics)
        positions = await self._positions(source, now, to)
        await self.register(source, consumer, topics, positions)
        await self.begin(consuming, consumer, source_name, positions, now)
        logger.warning("%s was reset in %s to %s", consumer, source_name, to)
        return tuple(positions)

    async def place(
        self,
        consuming: Database,
        source: Database,
        *,
        consumer: str,
        source_name: str,
        topics: Sequence[str],
        positions: Sequence[int],
    ) -> None:
        """Have this consumer begin there when it reads this source, whether it ever did or not.

        As `reset`, for one that has read the topics elsewhere until now (protocol L6).
        """
        places = list(positions)
        now = await self.register(source, consumer, sorted(topics), places)
        await self.ensure(consuming, consumer, source_name, sorted(topics))
        await self.begin(consuming, consumer, source_name, places, now)

    async def _positions(self, source: Database, now: Registration, to: Place) -> list[int]:
        lowest, highest = now.horizon - 1, now.last_seq
        if to == "end":
            return [max(lowest, end) for end in await self.ends(source)]
        if to == "horizon":
            return [lowest] * ALL_LANES
        if not lowest <= to <= highest:
            raise ConfigurationError(
                f"position {to} is not there: rows {lowest + 1} to {highest} are retained"
            )
        return [to] * ALL_LANES
