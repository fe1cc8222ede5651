"""Retries of outside calls stay within their budget, and come to an end all the same."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.messaging.test_deliverer import Payments

from waybill.messaging.adapters.memory.deliveries import DeliveryState
from waybill.messaging.core.breaker import BreakerState
from waybill.messaging.core.outcome import Failed, Unknown
from waybill.messaging.core.retry_budget import RetryBudget, RetryBudgetPolicy

if TYPE_CHECKING:
    from waybill.messaging.core.outcome import Outcome
    from waybill.messaging.core.ports import Delivery

AMPLIFICATION_MAX = 1.2
ORDERS_A_SECOND = 50
AILING_SECONDS = 20.0
HALF = 0.5


def test_a_retry_costs_five_after_a_timeout_ten() -> None:
    """promises.md: a bucket of 500, which is a hundred retries, or fifty after time-outs."""
    budget = RetryBudget(RetryBudgetPolicy())
    assert sum(budget.take(0.0, after_timeout=False) for _ in range(200)) == 100
    budget = RetryBudget(RetryBudgetPolicy())
    assert sum(budget.take(0.0, after_timeout=True) for _ in range(200)) == 50


def test_successes_fill_it_and_so_does_time() -> None:
    """Five successes pay for a retry; half a second does; a row of fifty says that all is well."""
    budget = RetryBudget(RetryBudgetPolicy())
    while budget.take(0.0, after_timeout=False):
        pass
    for _ in range(4):
        budget.record(failed=False)
    assert not budget.take(0.0, after_timeout=False)
    budget.record(failed=False)
    assert budget.take(0.0, after_timeout=False)
    assert budget.take(0.5, after_timeout=False)
    assert not budget.take(0.5, after_timeout=False)
    budget.record(failed=True)
    for _ in range(49):
        budget.record(failed=False)
    assert budget.tokens(0.5) < 50
    budget.record(failed=False)
    assert budget.tokens(0.5) == 500


def test_a_budget_that_would_end_retries_for_ever_is_refused() -> None:
    """What is owed is never given up: the bucket fills by itself, and holds the dearest retry."""
    with pytest.raises(ValueError, match="retries go on"):
        RetryBudgetPolicy(tokens_per_second=0)
    with pytest.raises(ValueError, match="at most timeout_tokens"):
        RetryBudgetPolicy(tokens_max=9)


@pytest.mark.parametrize("failing", [pytest.param(1.0, id="away"), pytest.param(0.3, id="ailing")])
async def test_a_party_in_trouble_is_called_little_more_than_is_owed(failing: float) -> None:
    """Amplification <= 1.2 while it lasts; within a minute after it everything is delivered.

    The breaker sees to a party that is away; of one that is ailing it may see nothing. A full
    bucket is a hundred retries more, once: here it is empty when the trouble begins.
    """
    world = Payments()
    while world.deliverer.budget.take(0.0, after_timeout=False):
        pass
    if failing < 1:
        world.deliverer.breaker.force(BreakerState.DISABLED, 0.0)
    draw = Random(7).random  # noqa: S311 - the same failures in each run

    def answer(_delivery: Delivery) -> Outcome | None:
        if draw() >= failing:
            return None
        return Failed("503") if draw() < HALF else Unknown("no answer")

    world.provider.answer = answer
    owed = 0
    async with world.running(world.deliverer):
        while world.clock.monotonic() < AILING_SECONDS:
            keys = [f"order-{owed + each}" for each in range(ORDERS_A_SECOND)]
            await world.owe(*keys, through=world.deliverer)
            owed += len(keys)
            await world.clock.advance(1.0)
        amplification = len(world.provider.calls) / owed
        assert amplification <= AMPLIFICATION_MAX
        assert failing == 1 or amplification > 1.05, "retries are made"
        world.provider.answer = lambda _delivery: None
        await world.clock.until(lambda: world.all_in(DeliveryState.DELIVERED), within_seconds=60.0)
    assert all(len(booked) == 1 for booked in world.books.values())
