"""One source of a subscription: what was fetched, what was handed out, when to look again."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError, LeaseLostError, MessagingError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, as_uuid, to_record
from waybill.messaging.reading.at_hand import HEARD_MAX, AtHand
from waybill.messaging.reading.attachment import Attachment

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Appended
    from waybill.messaging.reading.at_hand import Scanned
    from waybill.messaging.reading.ports import Lanes, PositionStore, Source, Stored
    from waybill.messaging.reading.settings import LogSettings

logger = logging.getLogger(__name__)

HINT_SECONDS = 0.02
"""So long a message may be missing in its lane before it is looked for; and a hint is followed at
most so often while there are rows at hand."""


class SourceReader:
    """Reads one source ahead of the consumer, a batch at most, every lane in its order."""

    def __init__(
        self,
        source: Source,
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
        self.task: asyncio.Task[None] | None = None
        self.is_slow = False
        """Nobody waits for the running turn: it wakes the consumer when it ends."""
        self.refusal: BaseException | None = None
        """An error that the consumer must see: a restored source, a wrong set-up, a bug."""
        self.error: MessagingError | None = None
        """Why the last turn failed; None while the source is well."""
        self._consumer = consumer
        self._topics = topics
        self._wanted = sorted(topics)
        self._settings = settings
        self._wake = wake
        self._monotonic = monotonic
        self._random = random
        self._place = Attachment(
            source, store, consumer=consumer, topics=topics, start=settings.start
        )
        self._rung = True
        self._failures = 0
        self._look_at = 0.0
        self._turned_at = 0.0
        self._first_lane = 0
        self._at_hand = AtHand(source.name, topics, monotonic)
        self._heard: list[Appended] = []
        """What was committed while a turn was reading."""
        source.notified = self.set

    def restart(self, stored: Stored) -> None:
        """Forget what was fetched; go on behind the stored positions."""
        self._drop()
        self._place.restart(stored)
        if self.refusal is not None:
            self._place.is_valid = False
        self.refusal = None
        self._rung = True

    def set(self) -> None:
        """A hint from another process: look now."""
        self._rung = True
        self._wake.set()

    def hear(self, appended: Sequence[Appended]) -> None:
        """See Doorbell: what this process has just committed to the source needs no reading."""
        if self.task is None:
            self._accept(appended)
        elif len(self._heard) < HEARD_MAX:
            self._heard.extend(appended)
        else:
            self._rung = True

    def _accept(self, appended: Sequence[Appended]) -> None:
        """Take it as read, or look. What nobody here wants wakes nobody."""
        if self._place.is_valid:
            wakes, fits = self._at_hand.hear(appended, self._place.fetched)
        else:
            wakes, fits = bool(appended), not appended
        self._rung = self._rung or not fits
        if wakes:
            self._wake.set()

    @property
    def _hinted_at(self) -> float:
        """From when on a look is worth while, whatever the last one said."""
        if self._rung:
            return 0.0
        missed_at = self._at_hand.missed_at
        if missed_at is None:
            return math.inf
        return max(missed_at, self._turned_at) + HINT_SECONDS

    def due_at(self) -> float:
        """When to look next, by the monotonic clock. A ring does not shorten a backoff."""
        return self._look_at if self.error else min(self._look_at, self._hinted_at)

    def turn_done(self, task: asyncio.Task[None]) -> None:
        """Callback of the turn's task."""
        self.task = None
        heard, self._heard = self._heard, []
        self._accept(heard)
        if not task.cancelled() and task.exception() is not None:
            self.refusal = task.exception()
        if self.is_slow:
            self.is_slow = False
            self._wake.set()

    def is_due(self, now: float) -> bool:
        """Whether to begin a turn: no row is read ahead, but a poll comes in any case (D7)."""
        if self.task is not None:
            return False
        if self._at_hand:
            hinted = self._hinted_at <= now
            rest = HINT_SECONDS if hinted else self._settings.poll_seconds
            waited = now - self._turned_at >= rest
            return waited and self.error is None and self._at_hand.has_room
        return self.due_at() <= now

    async def turn(self, limit: int, token: UUID) -> None:
        """Look once. What goes wrong is kept in `error` or `refusal`."""
        self._rung = False
        self._turned_at = self._monotonic()
        try:
            if not self._place.is_valid or not self.source.connected:
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

    async def reach(self, token: UUID) -> None:
        """Attach unless it is; for a consumer that holds no records, so a rewind is allowed."""
        waits = self.error is not None and self._monotonic() < self._look_at
        if self._place.is_valid or waits:
            return
        try:
            await self._attach(token, may_rewind=True)
        except (LeaseLostError, ConfigurationError) as refusal:
            self.refusal = refusal
        except MessagingError as error:
            self._failed(error)

    def take(self, limit: int) -> list[Scanned]:
        """Hand out rows in the order in which they were read."""
        return self._at_hand.take(limit)

    @property
    def committed_lanes(self) -> Lanes:
        """How far the consumer has committed."""
        return self._place.committed

    def committed(self, lane: int, seq: int, last_id: UUID | None) -> None:
        """The consumer has committed this lane up to here."""
        self._place.committed.move(lane, seq, last_id)

    async def report(self, token: UUID) -> bool:
        """Tell the source how far it was read; whether that worked."""
        if not self._place.is_valid:
            return False
        try:
            if crash_points.hook is not None:
                await crash_points.hook("source.before_report", self._consumer)
            await self._place.report(token)
            if crash_points.hook is not None:
                await crash_points.hook("source.after_report", self._consumer)
        except MessagingError as error:
            logger.debug("report of %s to %s: %s", self._consumer, self.name, error)
            return False
        return True

    async def _attach(self, token: UUID, *, may_rewind: bool) -> None:
        if await self._place.attach(token, may_rewind=may_rewind):
            self._drop()

    def _drop(self) -> None:
        """Forget what was fetched or heard."""
        self._at_hand.clear()
        self._heard.clear()

    async def _read(self, limit: int) -> None:
        fetched = self._place.fetched
        lanes = [(self._first_lane + offset) % ALL_LANES for offset in range(ALL_LANES)]
        positions = [fetched.positions[lane] for lane in lanes]
        rows = await self.source.fetch(lanes, positions, self._wanted, limit)
        size = 0
        for row in rows:
            lane, seq, id_, topic = row[0], row[1], as_uuid(row[2]), row[3]
            fetched.move(lane, seq, id_)
            record = None
            if topic in self._topics:
                record = to_record(self.name, row)  # type: ignore[arg-type]  # rows iterate
                size += len(record.message.value)
            self._at_hand.read((lane, seq, id_, record))
        full = len(rows) >= limit or size >= BATCH_BYTES_MAX
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
