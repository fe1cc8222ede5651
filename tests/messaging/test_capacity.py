"""A set capacity lets its rate in and not one more (promises, P10)."""

from __future__ import annotations

import math

import pytest

from waybill.messaging.core.errors import ConfigurationError, OverloadedError
from waybill.messaging.runtime.capacity import Capacity
from waybill.messaging.testing.clock import FakeClock


class Door:
    """A capacity of so many a second, and how many came in of those that knocked."""

    def __init__(self, per_second: float, *, burst_seconds: float = 1.0) -> None:
        self.clock = FakeClock()
        self.random = 0.5
        self.capacity = Capacity(
            per_second,
            setting="PER_SECOND_MAX",
            clock=self.clock,
            random=lambda: self.random,
            burst_seconds=burst_seconds,
        )

    def knock(self, times: int) -> int:
        """How many of so many were let in."""
        before = times
        for _ in range(times):
            try:
                self.capacity.admit()
            except OverloadedError:
                before -= 1
        return before


def test_p10_a_second_s_worth_comes_in_at_once_and_not_one_more() -> None:
    """P10: at the limit, to the request."""
    door = Door(150)
    assert door.knock(150) == 150
    assert door.knock(1) == 0


async def test_p10_what_is_offered_at_three_times_the_rate_comes_in_at_the_rate() -> None:
    """P10: for a minute of 450 a second, 150 a second and the first burst."""
    door = Door(150)
    let_in = 0
    for _ in range(60 * 450):
        await door.clock.advance(1 / 450)
        let_in += door.knock(1)
    assert let_in == pytest.approx(150 * 61, abs=1)


async def test_p10_what_is_offered_at_the_rate_is_never_refused() -> None:
    """P10: the limit itself still passes."""
    door = Door(150)
    door.knock(150)
    for _ in range(1_000):
        await door.clock.advance(1 / 150 + 1e-9)
        assert door.knock(1) == 1


async def test_p10_a_long_pause_saves_up_no_more_than_the_burst() -> None:
    """P10: an hour of silence does not let an hour's orders in together."""
    door = Door(150, burst_seconds=0.2)
    await door.clock.advance(3_600)
    assert door.knock(1_000) == 30


async def test_p10_it_recovers_by_itself_however_many_were_refused() -> None:
    """P10, metastability: refusals cost nothing of what comes next."""
    door = Door(10)
    door.knock(100_000)
    await door.clock.advance(1.0)
    assert door.knock(100) == 10


async def test_a_rate_below_one_still_lets_one_in() -> None:
    """One every ten seconds is one, not none."""
    door = Door(0.1)
    assert door.knock(2) == 1
    await door.clock.advance(9.9)
    assert door.knock(1) == 0
    await door.clock.advance(0.2)
    assert door.knock(1) == 1


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 1), (0.5, 2), (0.999, 3)])
def test_p10_a_refusal_names_the_setting_and_when_to_come_again(
    random: float, seconds: int
) -> None:
    """P10: between one and three seconds, so that not all come back together."""
    door = Door(1)
    door.random = random
    door.knock(1)
    with pytest.raises(OverloadedError, match="PER_SECOND_MAX=1 a second") as refused:
        door.capacity.admit()
    assert refused.value.retry_after_seconds == seconds


@pytest.mark.parametrize("per_second", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_none_is_a_mistake_in_the_set_up(per_second: float) -> None:
    """It is told at start."""
    with pytest.raises(ConfigurationError, match="PER_SECOND_MAX"):
        Door(per_second)
