"""One source of a subscription: what was fetched, what was handed out, when to look again."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.adapters.postgres.outbox_rows import to_record
from waybill.messaging.adapters.postgres.positions import Begin, Lanes, Stored
from waybill.messaging.adapters.postgres.standing import Standing, standing
from waybill.messaging.core.errors import ConfigurationError, LeaseLostError, MessagingError
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from uuid import UUID

    from waybill.messaging.adapters.postgres.positions import PositionStore
    from waybill.messaging.adapters.postgres.source import LogSettings, OutboxSource
    from waybill.messaging.adapters.postgres.standing import Registration
    from waybill.messaging.core.message import Record

logger = logging.getLogger(__name__)

Scanned = tuple[int, int, "UUID | None", "Record | None"]
"""Lane, seq and id of a row, and its record if its topic is wanted."""


class SourceReader:
    """Reads one source ahead of the consumer, a batch at most, every lane in its order."""

    def __init__(
        self,
        source: OutboxSource,
        store: PositionStore,
        *,
        consumer: str,
        topics: frozenset[str],
        settings: LogSettings,
        wake: asyncio.Event,
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.source = source
        self.name = source.name
        self.topics = topics
        self.task: asyncio.Task[None] | None = None
        self.is_slow = False
        """Whether the running turn outlasted the grace: others no longer wait for it."""
        self.refusal: BaseException | None = None
        """An error that the consumer must see: a restored source, a wrong set-up, a bug."""
        self.error: MessagingError | None = None
        """Why the last turn failed; None while the source is well."""
        self.committed = Lanes(None, None)
        self._rung = True
        self._wake = wake
        self._store = store
        self._consumer = consumer
        self._settings = settings
        self._monotonic = monotonic
        self._random = random
        self._wanted = sorted(topics)
        self._stored: Stored | None = None
        self._attached = False
        self._failures = 0
        self._look_at = 0.0
        self._first_lane = 0
        self._fetched = Lanes(None, None)
        self._ready: deque[Scanned] = deque()
        source.notified = self.set

    def restart(self, stored: Stored) -> None:
        """Forget what was fetched; go on behind the stored positions."""
        self._stored = stored
        self._ready.clear()
        restarted = Lanes(stored.positions, stored.last_ids)
        # An operator's reset went back: register there again before retention goes on (D4).
        went_back = any(
            new < old
            for new, old in zip(restarted.positions, self.committed.positions, strict=True)
        )
        if went_back or stored.positions is None or self.refusal is not None:
            self._attached = False
        self._fetched, self.committed = restarted, Lanes(stored.positions, stored.last_ids)
        self.refusal = None
        self._rung = True

    def set(self) -> None:
        """A ring of the doorbell, or a hint from another process: look now."""
        self._rung = True
        self._wake.set()

    def due_at(self) -> float:
        """When to look next, by the monotonic clock. A ring does not shorten a backoff."""
        return 0.0 if self._rung and self.error is None else self._look_at

    def turn_done(self, task: asyncio.Task[None]) -> None:
        """Callback of the turn's task; wakes a consumer that no longer waited for it."""
        self.task = None
        if not task.cancelled() and task.exception() is not None:
            self.refusal = task.exception()
        if self.is_slow:
            self.is_slow = False
            self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything fetched was handed out and no turn is running."""
        return not self._ready and self.task is None

    async def turn(self, limit: int, token: UUID) -> None:
        """Look once. What goes wrong is kept in `error` or `refusal`."""
        self._rung = False
        try:
            if not self._attached or not self.source.connected:
                await self._attach(token, may_rewind=False)
            await self._read(limit)
        except (LeaseLostError, ConfigurationError) as refusal:
            self.refusal = refusal
        except MessagingError as error:
            self._failed(error)
        else:
            if self.error is not None:
                logger.info("source %s of %s is back", self.name, self._consumer)
            self.error, self._failures = None, 0

    def take(self, limit: int) -> list[Scanned]:
        """Hand out rows in the order in which they were read."""
        if len(self._ready) <= limit:
            taken = list(self._ready)
            self._ready.clear()
            return taken
        return [self._ready.popleft() for _ in range(limit)]

    async def reach(self, token: UUID) -> None:
        """Attach unless it is; for a consumer that holds no records, so a rewind is allowed."""
        if self._attached or (self.error is not None and self._monotonic() < self._look_at):
            return
        try:
            await self._attach(token, may_rewind=True)
        except (LeaseLostError, ConfigurationError) as refusal:
            self.refusal = refusal
        except MessagingError as error:
            self._failed(error)

    async def _attach(self, token: UUID, *, may_rewind: bool) -> None:
        """Connect, find out where this consumer stands in the source, and register there.

        A restored source is read again from its horizon (D6), but only with `may_rewind`: else
        LeaseLostError, since the consumer may hold records of the time before.
        """
        self._attached = False
        if not self.source.connected:
            await self.source.connect()
        registration = await self.source.register(self._consumer, self._wanted)
        where = standing(self._current(), registration, highest=max(self._fetched.positions))
        if where is Standing.CONTINUES and await self.source.is_replaced(
            self._fetched.positions, self._fetched.last_ids, registration.horizon
        ):
            where = Standing.RESTORED
        if where is Standing.BELOW_HORIZON:
            raise ConfigurationError(self._below_horizon(registration))
        if where is Standing.CONTINUES:
            await self._continue(self._current(), registration, token)
        elif where is Standing.NEW or may_rewind:
            await self._begin(where, registration, token)
        else:
            raise LeaseLostError(f"source {self.name} was restored: rewind")
        self._attached = True

    async def report(self, token: UUID) -> None:
        """Tell the source how far it was read. A failure costs nothing: it was too low before."""
        try:
            if not self._attached:
                return
            answer = await self.source.report(self._consumer, self.committed.positions)
            if answer is None:
                return
            known, horizon, horizon_at = answer
            if not known:
                logger.warning("%s was forgotten by %s: joins again", self._consumer, self.name)
                self._attached = False
            await self._store.note(self.name, token, self._wanted, horizon, horizon_at)
        except MessagingError as error:
            logger.debug("report of %s to %s: %s", self._consumer, self.name, error)

    async def _read(self, limit: int) -> None:
        lanes = [(self._first_lane + offset) % ALL_LANES for offset in range(ALL_LANES)]
        positions = [self._fetched.positions[lane] for lane in lanes]
        rows = await self.source.fetch(lanes, positions, self._wanted, limit)
        for row in rows:
            lane, seq, id_, topic = row[0], row[1], row[2], row[3]
            self._fetched.move(lane, seq, id_)
            record = to_record(self.name, row) if topic in self.topics else None  # type: ignore[arg-type]  # asyncpg's rows iterate
            self._ready.append((lane, seq, id_, record))
        full = len(rows) >= limit
        if full:
            # The lane that used the limit up is the last one next time: it starves no other.
            self._first_lane = (rows[-1][0] + 1) % ALL_LANES
        self._look_at = self._monotonic() + (0.0 if full else self._settings.poll_seconds)

    def _failed(self, error: MessagingError) -> None:
        if self.error is None:
            logger.warning("%s cannot read: %s", self._consumer, error)
        self.error = error
        delay = self._settings.retry.delay_seconds(self._failures, self._random)
        self._failures += 1
        self._look_at = self._monotonic() + delay

    async def _begin(self, where: Standing, registration: Registration, token: UUID) -> None:
        positions = [registration.horizon - 1] * ALL_LANES
        if where is Standing.NEW and self._settings.start == "end":
            ends = await self.source.ends()
            positions = [max(pair) for pair in zip(positions, ends, strict=True)]
        registration = await self.source.register(
            self._consumer, self._wanted, positions, positions
        )
        begin = Begin(
            positions=tuple(positions),
            system_identifier=registration.system_identifier,
            timeline=registration.timeline,
            horizon=registration.horizon,
            horizon_at=registration.horizon_at,
        )
        await self._store.begin(self.name, token, begin, self._wanted)
        level = logging.WARNING if where is Standing.RESTORED else logging.INFO
        logger.log(
            level,
            "%s begins in %s (%s) at %s, rows below %d are gone",
            self._consumer,
            self.name,
            where.value,
            self._settings.start if where is Standing.NEW else "horizon",
            registration.horizon,
        )
        self._ready.clear()
        self._fetched = Lanes(positions, None)
        self.committed = Lanes(positions, None)
        self._stored = Stored(
            positions=begin.positions,
            last_ids=(),
            start=begin.positions,
            topics=self.topics,
            system_identifier=begin.system_identifier,
            timeline=begin.timeline,
        )

    def _current(self) -> Stored:
        """The row as joined, with the positions as committed since."""
        if self._stored is None:
            raise LeaseLostError(f"{self._consumer} has not joined")
        if self._stored.positions is None:
            return self._stored
        return msgspec.structs.replace(self._stored, positions=tuple(self.committed.positions))

    async def _continue(self, stored: Stored, registration: Registration, token: UUID) -> None:
        await self.source.register(
            self._consumer,
            self._wanted,
            self.committed.positions,
            None if registration.known or stored.start is None else list(stored.start),
        )
        await self._store.note(
            self.name, token, self._wanted, registration.horizon, registration.horizon_at
        )
        added = self.topics - stored.topics
        if added:
            logger.warning(
                "%s reads %s of %s from here on; for their earlier messages: "
                "waybill consumers reset %s",
                self._consumer,
                ", ".join(sorted(added)),
                self.name,
                self._consumer,
            )

    def _below_horizon(self, registration: Registration) -> str:
        return (
            f"{self._consumer} stands below the horizon of {self.name} ({registration.horizon}): "
            f"messages that it has not read were dropped. To go on with what is left: "
            f"waybill consumers reset {self._consumer} --source {self.name} --to horizon"
        )
