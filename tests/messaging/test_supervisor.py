"""Loops stay up, are seen when they do not, and end when asked (B22, P11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import (
    ConfigurationError,
    DeadLetterLimitExceededError,
    TransientError,
)
from waybill.messaging.core.message import Appended
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.doorbell import Doorbell
from waybill.messaging.runtime.loop import Loop
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.runtime.supervisor import Supervisor
from waybill.messaging.testing.clock import FakeClock
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ticker(Loop):
    """A loop that ticks once a second, until it is told to fail."""

    def __init__(self, clock: FakeClock, name: str = "ticker") -> None:
        super().__init__(name, clock, SilentObserver())
        self.starts = 0
        self.error: Exception | None = None
        self.stuck = asyncio.Event()
        self.rolled_back = False

    async def work(self) -> None:
        self.starts += 1
        while True:
            if self.error is not None:
                raise self.error
            if self.stuck.is_set():
                try:
                    await asyncio.Event().wait()
                finally:
                    self.rolled_back = True
            self.progressed()
            await self.idle(self._clock.sleep(1.0))


async def test_b22_a_crashed_loop_is_restarted_and_counted() -> None:
    """B22: with backoff, and the process shows that the loop makes no turns."""
    clock = FakeClock()
    supervisor, ticker = Supervisor(clock, lambda: 0.999), Ticker(clock)
    supervisor.start(ticker)
    await clock.settle()
    ticker.error = KeyError("a bug")
    await clock.advance(120.0)
    assert 10 < supervisor.restarts["ticker"] < 30
    ticker.error = None
    await clock.advance(12.0)
    assert supervisor.ages_seconds()["ticker"] <= 1.0
    await supervisor.stop()


async def test_b22_the_age_of_the_last_turn_is_seen() -> None:
    """B22: readiness asks for progress, so a loop that hangs is not ready."""
    clock = FakeClock()
    supervisor, ticker = Supervisor(clock, lambda: 0.5), Ticker(clock)
    supervisor.start(ticker)
    await clock.advance(5.0)
    assert supervisor.ages_seconds()["ticker"] < 1.1
    ticker.stuck.set()
    await clock.advance(30.0)
    assert supervisor.ages_seconds()["ticker"] > 20
    stopping = asyncio.create_task(supervisor.stop(within_seconds=5.0))
    await clock.until(stopping.done)


@pytest.mark.parametrize("error", [DeadLetterLimitExceededError, ConfigurationError])
async def test_c10_a_loop_that_waits_for_an_operator_is_not_restarted(
    error: type[Exception],
) -> None:
    """C10: it is halted, with its reason, until somebody resumes it."""
    clock = FakeClock()
    supervisor, ticker = Supervisor(clock, lambda: 0.5), Ticker(clock)
    ticker.error = error("look at the dead letters")
    supervisor.start(ticker)
    await clock.advance(300.0)
    assert supervisor.halted == {"ticker": "look at the dead letters"}
    assert ticker.starts == 1
    ticker.error = None
    assert supervisor.resume("ticker")
    assert not supervisor.resume("ticker")
    await clock.advance(2.0)
    assert (ticker.starts, supervisor.halted) == (2, {})
    assert await supervisor.stop() == []


async def test_p11_stop_ends_waiting_loops_at_once() -> None:
    """P11: a drain takes as long as the units in hand, not as long as the polls."""
    clock = FakeClock()
    supervisor = Supervisor(clock, lambda: 0.5)
    supervisor.start(Ticker(clock, "one"), Ticker(clock, "two"))
    await clock.advance(1.5)
    now = clock.monotonic()
    assert await supervisor.stop() == []
    assert clock.monotonic() == now


async def test_p11_a_loop_that_does_not_end_is_cancelled_within_the_bound() -> None:
    """P11: the bound holds, whatever a handler does; the others drain as they should."""
    clock = FakeClock()
    supervisor, stuck = Supervisor(clock, lambda: 0.5), Ticker(clock, "stuck")
    supervisor.start(stuck, Ticker(clock, "well"))
    await clock.advance(1.0)
    stuck.stuck.set()
    await clock.advance(1.0)
    stopping = asyncio.create_task(supervisor.stop(within_seconds=10.0))
    await clock.advance(9.9)
    assert not stopping.done()
    await clock.advance(0.2)
    assert await stopping == ["stuck"]
    assert stuck.rolled_back


async def test_p11_a_loop_in_its_backoff_ends_at_once() -> None:
    """P11: nobody waits for the restart of a crashed loop."""
    clock = FakeClock()
    supervisor, ticker = Supervisor(clock, lambda: 0.999), Ticker(clock)
    ticker.error = TransientError("down")
    supervisor.start(ticker)
    await clock.advance(100.0)
    now = clock.monotonic()
    assert await supervisor.stop() == []
    assert clock.monotonic() == now


async def test_two_loops_of_one_name_are_refused() -> None:
    """A name is what operators and metrics know a loop by."""
    clock = FakeClock()
    supervisor = Supervisor(clock, lambda: 0.5)
    supervisor.start(Ticker(clock))
    with pytest.raises(ConfigurationError, match="two loops"):
        supervisor.start(Ticker(clock))
    await supervisor.stop()


def test_d7_every_listener_hears_until_it_is_forgotten() -> None:
    """D7: a ring reaches all listeners at once, with what was committed; none after it has gone."""
    bell, one, two = Doorbell(), Heard(), Heard()
    bell.attach(one)
    bell.attach(two)
    news = [Appended(3, 0, 7, a_message())]
    bell.ring(news)
    bell.forget(two)
    bell.forget(two)
    bell.ring([])
    assert (one.rings, two.rings) == ([news, []], [news])


class Heard:
    """Keeps every ring."""

    def __init__(self) -> None:
        self.rings: list[Sequence[Appended]] = []

    def hear(self, appended: Sequence[Appended]) -> None:
        """See Doorbell."""
        self.rings.append(appended)


async def test_the_machines_clock_waits_as_the_fake_one_does() -> None:
    """The fake clock and the real one keep the same contract."""
    clock, event = SystemClock(), asyncio.Event()
    assert not await clock.wait(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await clock.wait(event, 5.0)
    assert await clock.wait(event, 0.0)
    before = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() > before
    assert clock.now().utcoffset() is not None


async def test_the_fake_clock_wakes_sleepers_in_order() -> None:
    """Sleepers see the time that they asked for, whatever step the test takes."""
    clock, woken = FakeClock(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleep(name, s)) for name, s in [("b", 2.0), ("a", 1.0)]]
    await clock.advance(10.0)
    await asyncio.gather(*tasks)
    assert woken == [("a", 1.0), ("b", 2.0)]
    with pytest.raises(AssertionError, match="fake clock"):
        await clock.until(lambda: False)
