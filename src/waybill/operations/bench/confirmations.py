"""Sees orders CONFIRMED as a subscriber does: in the order service's outbox, as its reader role.

Only the lanes of orders that are on their way are looked at, so that looking costs the platform's
process nothing and its database little. Two latencies of each order bracket the truth:

*seen*: until a look had the event. Late by up to a look's interval.
*written*: until the event was written, by the database's clock, which is this machine's. Early by
the COMMIT, the next thing that is sent (protocol O2).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

import asyncpg

from waybill.messaging.adapters.postgres.source import SESSION
from waybill.messaging.core.lanes import LANE_COUNT, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS_MAX: Final = 1_000
"""Of one lane a look."""
STRANGERS_MAX: Final = 10_000
"""Ends of orders that nobody has handed in yet; the oldest are forgotten."""
CONFIRMED: Final = "OrderConfirmed"
ENDS: Final = (CONFIRMED, "OrderCancelled")

End = tuple[str, bool, float]
"""An order, whether it came to a good end, and when that was written, as a Unix time."""

_LAST = "SELECT coalesce(max(seq), 0) FROM messaging.outbox WHERE lane = $1"
_LOOK = """
SELECT p.lane, o.seq, o.aggregateid, o.type, extract(epoch FROM o.created_at)::float8 AS written
FROM unnest($1::smallint[], $2::bigint[]) AS p (lane, position)
CROSS JOIN LATERAL (
    SELECT r.seq, r.aggregateid, r.type, r.created_at FROM messaging.outbox AS r
    WHERE r.lane = p.lane AND r.seq > p.position AND r.type = ANY ($3::text[])
    ORDER BY r.seq LIMIT $4
) AS o
"""


class Tally:
    """What became of the orders that were handed in since it began."""

    def __init__(self) -> None:
        self.seen = array("d")
        """Seconds from the intended send, of the confirmed ones; as `written`, in one order."""
        self.written = array("d")
        self.cancelled = 0
        self.last_written = 0.0
        """`time.perf_counter` of the last confirmation."""


class Confirmations:
    """Hand it accepted orders; `async with` it, and it looks."""

    def __init__(self, url: str, *, look_seconds: float) -> None:
        self.tally = Tally()
        self.look_seconds = look_seconds
        self.looks = 0
        self.confirmed = 0
        """All of them, whatever the tally."""
        self._url = url
        self._pending: dict[str, tuple[float, int]] = {}
        self._strangers: OrderedDict[str, tuple[bool, float, float]] = OrderedDict()
        self._waiting = [0] * LANE_COUNT
        self._positions = [0] * LANE_COUNT
        self._rung = asyncio.Event()

    @property
    def pending(self) -> int:
        """Orders that were handed in and have not ended."""
        return len(self._pending)

    @property
    def failure(self) -> BaseException | None:
        """Why it looks no more; None while it does."""
        done = self._looking.done() and not self._looking.cancelled()
        return self._looking.exception() if done else None

    async def __aenter__(self) -> Self:
        self._connection: asyncpg.Connection = await asyncpg.connect(
            self._url, server_settings={"application_name": "waybill bench", **SESSION}
        )
        await self._start()
        self._looking = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.wait([self._looking])
        await self._connection.close()

    def begin(self) -> Tally:
        """A new tally, of the orders that end from now on."""
        self.tally = Tally()
        return self.tally

    def accepted(self, order: bytes, intended: float) -> None:
        """Wait for this order's end. `intended` is of `time.perf_counter`."""
        key = order.decode()
        if (early := self._strangers.pop(key, None)) is not None:
            self._end(intended, early)
            return
        lane = lane_of(key)
        self._pending[key] = (intended, lane)
        self._waiting[lane] += 1
        self._rung.set()

    async def _look_on(self) -> None:
        while True:
            if not self._pending:
                self._rung.clear()
                await self._rung.wait()
            ends = await self._look()
            self.looks += 1
            self._take(ends)
            await asyncio.sleep(self.look_seconds)

    async def _start(self) -> None:
        """Before the first look."""
        for lane in range(LANE_COUNT):
            self._positions[lane] = await self._connection.fetchval(_LAST, lane)

    async def _look(self) -> list[End]:
        lanes = [lane for lane, waiting in enumerate(self._waiting) if waiting]
        positions = [self._positions[lane] for lane in lanes]
        rows = await self._connection.fetch(_LOOK, lanes, positions, ENDS, ROWS_MAX)
        for lane, seq, *_ in rows:
            self._positions[lane] = max(self._positions[lane], seq)
        return [(key, kind == CONFIRMED, written) for _, _, key, kind, written in rows]

    def _take(self, ends: Iterable[End]) -> None:
        now = time.perf_counter()
        epoch = time.time() - now  # noqa: TID251 - the database's clock; anew, for clocks drift
        for key, is_good, written in ends:
            end = (is_good, now, written - epoch)
            if (waiting := self._pending.pop(key, None)) is None:
                # It ended before its client had the answer, or it is somebody else's.
                self._strangers[key] = end
                if len(self._strangers) > STRANGERS_MAX:
                    self._strangers.popitem(last=False)
                continue
            intended, lane_waiting = waiting
            self._waiting[lane_waiting] -= 1
            self._end(intended, end)

    def _end(self, intended: float, end: tuple[bool, float, float]) -> None:
        is_good, seen, written = end
        if not is_good:
            self.tally.cancelled += 1
            return
        self.confirmed += 1
        self.tally.seen.append(seen - intended)
        self.tally.written.append(written - intended)
        self.tally.last_written = max(self.tally.last_written, written)
