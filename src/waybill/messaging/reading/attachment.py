"""How far a consumer is in one source, and how it takes its place there (protocol D3, D4, D6)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.errors import ConfigurationError, LeaseLostError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.ports import Begin, Lanes, Stored
from waybill.messaging.reading.standing import Standing, standing

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.reading.ports import PositionStore, Source
    from waybill.messaging.reading.standing import Registration

logger = logging.getLogger(__name__)


class Attachment:
    """The consumer's place in the source: `fetched` runs ahead of `committed`."""

    def __init__(
        self,
        source: Source,
        store: PositionStore,
        *,
        consumer: str,
        topics: frozenset[str],
        start: str,
    ) -> None:
        self.is_valid = False
        """Whether the source knows this reader, and the reader knows where it stands."""
        self.fetched = Lanes(None, None)
        self.committed = Lanes(None, None)
        self._source = source
        self._store = store
        self._consumer = consumer
        self._topics = sorted(topics)
        self._start = start
        self._stored: Stored | None = None

    def restart(self, stored: Stored) -> None:
        """Go on behind these positions."""
        restarted = Lanes(stored.positions, stored.last_ids)
        # An operator's reset went back: register there again before retention goes on (D4).
        went_back = any(
            new < old
            for new, old in zip(restarted.positions, self.committed.positions, strict=True)
        )
        if went_back or stored.positions is None:
            self.is_valid = False
        self._stored = stored
        self.fetched, self.committed = restarted, Lanes(stored.positions, stored.last_ids)

    async def attach(self, token: UUID, *, may_rewind: bool) -> bool:
        """Connect, find out where this consumer stands, and register there; True if it began anew.

        A restored source is read again from its horizon (D6), but only with `may_rewind`: else
        LeaseLostError, since the consumer may hold records of the time before.
        """
        self.is_valid = False
        if not self._source.connected:
            await self._source.connect()
        registration = await self._source.register(self._consumer, self._topics)
        stored = self._current()
        where = standing(stored, registration, highest=max(self.fetched.positions))
        if where is Standing.CONTINUES and await self._source.is_replaced(
            self.fetched.positions, self.fetched.last_ids, registration.horizon
        ):
            where = Standing.RESTORED
        match where:
            case Standing.BELOW_HORIZON:
                raise ConfigurationError(self._below_horizon(registration))
            case Standing.RESTORED if not may_rewind:
                raise LeaseLostError(f"source {self._source.name} was restored: rewind")
            case Standing.CONTINUES:
                await self._continue(stored, registration, token)
            case Standing.NEW | Standing.RESTORED:
                await self._begin(where, registration, token)
        self.is_valid = True
        return where is not Standing.CONTINUES

    async def report(self, token: UUID) -> None:
        """Tell the source how far it was read; always too low, so it may fail."""
        answer = await self._source.report(self._consumer, self.committed.positions)
        if answer is None:
            return
        known, horizon, horizon_at = answer
        if not known:
            logger.warning("%s was forgotten by %s: joins again", self._consumer, self._source.name)
            self.is_valid = False
        await self._store.note(self._source.name, token, self._topics, horizon, horizon_at)

    def _current(self) -> Stored:
        """The row as joined, with the positions as committed since."""
        if self._stored is None:
            raise LeaseLostError(f"{self._consumer} has not joined")
        if self._stored.positions is None:
            return self._stored
        return msgspec.structs.replace(self._stored, positions=tuple(self.committed.positions))

    async def _begin(self, where: Standing, registration: Registration, token: UUID) -> None:
        start = self._start if where is Standing.NEW else "horizon"
        positions = [registration.horizon - 1] * ALL_LANES
        if start == "end":
            ends = await self._source.ends()
            positions = [max(pair) for pair in zip(positions, ends, strict=True)]
        registration = await self._source.register(
            self._consumer, self._topics, positions, positions
        )
        begin = Begin(
            positions=tuple(positions),
            system_identifier=registration.system_identifier,
            timeline=registration.timeline,
            horizon=registration.horizon,
            horizon_at=registration.horizon_at,
        )
        await self._store.begin(self._source.name, token, begin, self._topics)
        logger.log(
            logging.WARNING if where is Standing.RESTORED else logging.INFO,
            "%s begins in %s (%s) at the %s, rows below %d are gone",
            self._consumer,
            self._source.name,
            where.value,
            start,
            registration.horizon,
        )
        self._stored = Stored(
            positions=begin.positions,
            last_ids=(),
            start=begin.positions,
            topics=frozenset(self._topics),
            system_identifier=begin.system_identifier,
            timeline=begin.timeline,
        )
        self.fetched, self.committed = Lanes(positions, None), Lanes(positions, None)

    async def _continue(self, stored: Stored, registration: Registration, token: UUID) -> None:
        await self._source.register(
            self._consumer,
            self._topics,
            self.committed.positions,
            None if registration.known or stored.start is None else list(stored.start),
        )
        await self._store.note(
            self._source.name,
            token,
            self._topics,
            registration.horizon,
            registration.horizon_at,
        )
        added = sorted(set(self._topics) - stored.topics)
        if added:
            logger.warning(
                "%s reads %s of %s from here on; for their earlier messages: "
                "waybill consumers reset %s",
                self._consumer,
                ", ".join(added),
                self._source.name,
                self._consumer,
            )

    def _below_horizon(self, registration: Registration) -> str:
        name = self._source.name
        return (
            f"{self._consumer} stands below the horizon of {name} ({registration.horizon}): "
            "messages that it has not read were dropped. To go on with what is left: "
            f"waybill consumers reset {self._consumer} --source {name} --to horizon"
        )
