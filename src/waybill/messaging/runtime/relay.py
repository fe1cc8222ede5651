"""The relay: carries an outbox to a log, in commit order per key, and loses nothing (L1-L6).

One loop a service process. A lane's position moves only over what the log has acknowledged, so
whatever ends the process, the rest is sent again, and inboxes remove the duplicates.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import MessagingError, TransientError, UnsendableError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.message import Record
from waybill.messaging.core.ports import Written
from waybill.messaging.runtime.loop import Loop
from waybill.messaging.runtime.relay_ownership import Ownership
from waybill.messaging.runtime.relay_positions import PositionKeeper
from waybill.messaging.runtime.relay_settings import RelayFigures, RelaySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import LogWriter, Observer
    from waybill.messaging.core.relay import RelayStore
    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.relay_lane import Lane, Run

logger = logging.getLogger(__name__)

HEARD_MAX = 10_000
"""More commits than that are not kept in memory while the relay is busy: it reads them."""

_LANE = attrgetter("lane")
_SEQ = attrgetter("seq")


class Relay(Loop):
    """Runs until it is stopped. `member` is shown to operators as the owner of its lanes."""

    def __init__(
        self,
        name: str,
        *,
        source: str,
        store: RelayStore,
        writer: LogWriter,
        member: str,
        clock: Clock,
        observer: Observer,
        random: Callable[[], float],
        new_id: Callable[[], UUID],
        settings: RelaySettings | None = None,
    ) -> None:
        super().__init__(name, clock, observer)
        self.figures = RelayFigures()
        self._source = source
        self._store = store
        self._writer = writer
        self._member = member
        self._random = random
        self._new_id = new_id
        self._settings = settings or RelaySettings()
        self._wake = asyncio.Event()
        self._heard: list[Appended] = []
        self._writing: set[asyncio.Task[None]] = set()
        self._in_flight_bytes = 0
        self._begin()

    def _begin(self) -> None:
        """Own nothing, under a new token."""
        self._owned = Ownership(
            self.name,
            store=self._store,
            writer=self._writer,
            token=self._new_id(),
            member=self._member,
            clock=self._clock,
            settings=self._settings,
            figures=self.figures,
            changed=self.ring,
        )
        self._positions = PositionKeeper(
            self.name,
            store=self._store,
            owned=self._owned,
            clock=self._clock,
            random=self._random,
            settings=self._settings,
            figures=self.figures,
            changed=self._wake.set,
        )
        self._rung = True
        self._look_at = 0.0
        self._not_before = 0.0
        self._read_failures = 0
        self._first_lane = 0

    @property
    def owns_all(self) -> bool:
        """No other process need be told of commits of this one."""
        return len(self._owned.lanes) == ALL_LANES

    def ring(self) -> None:
        """A hint that the outbox has grown, or a lane is ours: look now."""
        self._rung = True
        self._wake.set()

    def hear(self, appended: Sequence[Appended]) -> None:
        """See Doorbell: what this process has just committed needs no reading (ADR 0021)."""
        if len(self._heard) + len(appended) <= HEARD_MAX:
            self._heard.extend(appended)
        else:
            self._rung = True
        self._wake.set()

    async def work(self) -> None:
        """See Loop. Raises ConfigurationError: this outbox must not feed this log (L1, L6)."""
        self._begin()
        await self._attach()
        tasks = [
            asyncio.create_task(self._owned.keep()),
            asyncio.create_task(self._positions.run()),
        ]
        try:
            while True:
                for task in tasks:
                    if task.done():
                        task.result()
                await self._turn()
                self.progressed()
                await self.idle(self._clock.wait(self._wake, self._pause_seconds()))
        finally:
            await self._leave(tasks)

    async def _attach(self) -> None:
        """Find out which log this is; a broker or a database that is away is waited for."""
        failures = 0
        while True:
            try:
                await self._store.attach(await self._patiently(self._writer.identity()))
            except TransientError as error:
                if not failures:
                    logger.warning("%s waits: %s", self.name, error)
            else:
                return
            delay = self._settings.retry.delay_seconds(failures, self._random)
            failures += 1
            await self._patiently(self._clock.sleep(delay))

    async def _patiently(self, wait: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - its result
        """Wait for something that may take long; the loop is alive meanwhile."""
        task = asyncio.create_task(wait)
        done = asyncio.Event()
        task.add_done_callback(lambda _: done.set())
        try:
            while not task.done():
                await self.idle(self._clock.wait(done, self._settings.poll_seconds))
                self.progressed()
            return task.result()
        finally:
            task.cancel()

    async def _turn(self) -> None:
        self._wake.clear()
        try:
            await self._owned.turn()
        except MessagingError as error:
            logger.debug("%s: leases: %s", self.name, error)
        now = self._clock.monotonic()
        for lane in self._owned.lanes.values():
            if lane.has_stopped:
                self._recover(lane)
            elif 0.0 < lane.look_at <= now:
                lane.look_at, self._rung = 0.0, True
        await self._take_heard()
        await self._read()

    def _recover(self, lane: Lane) -> None:
        """Go on behind an error: hold what the log takes never, else wait and read again (L2)."""
        failure, refused = lane.failure, lane.refused
        lane.restart()
        self._rung = True
        may_hold = self._owned.held_count < self._settings.held_records_max
        if isinstance(failure, UnsendableError) and refused is not None and may_hold:
            self._owned.held_count += 1
            self.figures.refused += 1
            lane.hold(refused, str(failure))
            self._positions.soon()
            logger.error(
                "%s: message %s is held, and all of its key behind it: %s; see "
                "`waybill outbox held list`",
                self.name,
                refused.message.id,
                failure,
            )
            return
        if not lane.failures:
            logger.warning("%s: lane %d stopped: %s", self.name, lane.number, failure)
        self.figures.produce_errors += 1
        delay = self._settings.retry.delay_seconds(lane.failures, self._random)
        lane.failures += 1
        lane.look_at = self._clock.monotonic() + delay

    async def _take_heard(self) -> None:
        """Send what this process has committed, where it follows on what was read."""
        heard, self._heard = self._heard, []
        heard.sort(key=_SEQ)
        now = self._clock.monotonic()
        ends: dict[int, int] = {}
        found: dict[int, list[Record]] = {}
        for each in heard:
            number = each.lane
            lane = self._owned.lanes.get(number)
            if lane is None:
                continue
            end = ends.get(number, lane.fetched)
            if end >= each.seq:
                continue
            if end < each.before or not lane.is_readable(now) or not self._has_room:
                self._rung = True
                continue
            ends[number] = each.seq
            record = Record(self._source, number, each.seq, each.message)
            found.setdefault(number, []).append(record)
        for number, records in found.items():
            await self._start(self._owned.lanes.get(number), records)

    @property
    def _has_room(self) -> bool:
        return (
            self.figures.in_flight < self._settings.in_flight_records_max
            and self._in_flight_bytes < self._settings.in_flight_bytes_max
        )

    async def _read(self) -> None:
        """The next page, before the last one is acknowledged."""
        now = self._clock.monotonic()
        self._rung = self._rung or now >= self._look_at
        if not self._rung or not self._has_room or now < self._not_before:
            return
        order = [(self._first_lane + offset) % ALL_LANES for offset in range(ALL_LANES)]
        owned = self._owned.lanes
        lanes = [owned[number] for number in order if number in owned]
        positions = {lane.number: lane.fetched for lane in lanes if lane.is_readable(now)}
        self._rung, self._look_at = False, now + self._settings.poll_seconds
        if not positions:
            return
        try:
            records = await self._store.read(positions, self._settings.page_records_max)
        except TransientError as error:
            self._could_not_read(error)
            return
        self._read_failures = 0
        if not records:
            return
        # There may be more; the lane that used the page up is the last one next time.
        self._rung, self._first_lane = True, (records[-1].lane + 1) % ALL_LANES
        for number, run in groupby(records, _LANE):
            lane = owned.get(number)
            if lane is not None and lane.fetched == positions[number] and not lane.stops:
                await self._start(lane, list(run))

    def _could_not_read(self, error: TransientError) -> None:
        if not self._read_failures:
            logger.warning("%s cannot read: %s", self.name, error)
        delay = self._settings.retry.delay_seconds(self._read_failures, self._random)
        self._read_failures += 1
        self._not_before, self._rung = self._clock.monotonic() + delay, True

    async def _start(self, lane: Lane | None, records: Sequence[Record]) -> None:
        """Begin to write a run; the lease is checked before each (L3)."""
        if lane is None or not self._owned.holds:
            self._rung = True
            return
        run = lane.accept(records)
        if not run.records:
            self._settle(lane, run, Written(0))
            return
        if crash_points.hook is not None:
            await crash_points.hook("relay.before_write", self._source)
        self.figures.in_flight += len(run.records)
        self._in_flight_bytes += run.size
        task = asyncio.create_task(self._write(lane, run))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, lane: Lane, run: Run) -> None:
        """From here to the writer's first await nothing else runs, nor from its answer to ours.

        So a run whose task begins behind an error of its lane is seen here, and every other one
        by the writer: neither goes past the record that failed (L2, L4).
        """
        try:
            if lane.gone or lane.stops:
                written = Written(0, TransientError("the lane was lost or stopped before this"))
            else:
                written = await self._writer.write(run.records)
            if crash_points.hook is not None and written.error is None:
                await crash_points.hook("relay.after_write", self._source)
        except Exception as error:  # noqa: BLE001 - a loop's edge: the lane stops and reads again
            written = Written(0, error)
        finally:
            self.figures.in_flight -= len(run.records)
            self._in_flight_bytes -= run.size
        self._settle(lane, run, written)

    def _settle(self, lane: Lane, run: Run, written: Written) -> None:
        """A run of the lane has ended."""
        self.figures.sent += lane.settle(run, written)
        if lane.acked > lane.stored:
            self._positions.soon()
        if self._rung or lane.failure is not None:
            self._wake.set()

    def _pause_seconds(self) -> float:
        """Until the next poll, or until something that waits may be tried again."""
        now, poll_seconds = self._clock.monotonic(), self._settings.poll_seconds
        if not self._has_room:
            return poll_seconds  # a run that ends wakes the loop
        looks = [lane.look_at for lane in self._owned.lanes.values() if lane.look_at > now]
        looks.append(max(self._not_before, now if self._rung else self._look_at))
        return min(max(0.0, min(looks) - now), poll_seconds)

    async def _leave(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Finish what is under way within the bound, store positions, hand the lanes on."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(MessagingError, TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds_max):
                if self._writing:
                    await asyncio.wait(self._writing)
        with suppress(MessagingError, TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds_max):
                await self._positions.store()
                await self._owned.leave()
