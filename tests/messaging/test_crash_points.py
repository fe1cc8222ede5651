"""Crash points: each action at each point that a consumer comes to, over the memory adapters."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest
from tests.messaging.ledger import CONSUMER, World

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError, OutcomeUnknownError, TransientError
from waybill.messaging.testing.crash_points import CrashPlan, CutConnectionError

IN_A_UNIT = [
    *("consumer.before_claim", "consumer.after_claim"),
    *("outbox.before_append", "outbox.after_append"),
    *("consumer.before_commit", "consumer.after_commit"),
    *("consumer.before_acknowledge", "consumer.after_acknowledge"),
]
DIES = """
import asyncio
from waybill.messaging.core import crash_points
from waybill.messaging.testing.crash_points import CrashPlan

async def main():
    with CrashPlan() as plan:
        plan.kill("job.before_run")
        print("before", flush=True)
        try:
            await crash_points.hook("job.before_run", "sweep")
        finally:
            print("after", flush=True)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def own_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of a test's own, for as long as it runs."""
    monkeypatch.setattr(crash_points, "_points", dict(crash_points.registered()))
    act = crash_points.Point("An act of a test.")
    crash_points.register({"mine.before_act": act, "mine.after_act": act})


async def come_to(point: str, name: str = "") -> None:
    """What the product does at a point."""
    if crash_points.hook is not None:
        await crash_points.hook(point, name)


async def consume_twenty() -> tuple[World, bool]:
    """A world after twenty messages, and whether their effects are there once."""
    world = World()
    messages = world.amounts(count=20)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(messages))
    return world, world.effects == {message.id: 1 for message in messages}


@pytest.mark.parametrize("point", IN_A_UNIT)
async def test_an_error_at_any_point_of_a_unit_costs_no_effect_and_doubles_none(
    point: str,
) -> None:
    """P2, P3: whatever fails on the way, each message is applied once and published once."""
    with CrashPlan() as plan:
        plan.fail(point, match=CONSUMER)
        world, once = await consume_twenty()
    assert once
    assert len(world.copies) == 20


@pytest.mark.parametrize("point", [each for each in IN_A_UNIT if ".before_" in each])
async def test_an_act_whose_answer_is_lost_costs_no_effect_and_doubles_none(point: str) -> None:
    """P3: it was done, or rolled back with its unit; the consumer cannot tell, and need not."""
    with CrashPlan() as plan:
        armed = plan.do_then_fail(point, match=CONSUMER)
        world, once = await consume_twenty()
    assert armed.is_reached
    assert once
    assert len(world.copies) == 20


@pytest.mark.parametrize("nth", range(2, 7))
async def test_the_answer_to_any_commit_may_be_lost(nth: int) -> None:
    """P3: joining, reading and deciding end in commits; the loop outlives each lost answer."""
    with CrashPlan() as plan:
        plan.fail("transaction.after_commit", nth=nth)
        world, once = await consume_twenty()
    assert once
    assert len(world.copies) == 20


async def test_a_commit_whose_answer_is_lost_stands() -> None:
    """do_then_fail at a commit: the effects are there before the error is, and read once more."""
    world = World()
    messages = world.amounts(count=3)
    await world.feed(messages)
    with CrashPlan() as plan:
        lost = plan.do_then_fail("consumer.before_commit", match=CONSUMER)
        async with world.running(world.consumer):
            await world.clock.until(lambda: lost.is_reached)
            assert len(world.effects) == 3
            await world.clock.until(lambda: world.done(messages))
    assert world.observer.counts[CONSUMER, "retried", "OutcomeUnknownError"] == 0
    assert world.observer.counts[CONSUMER, "retried", "CutConnectionError"] == 1
    assert len(world.copies) == 3


async def test_a_block_stands_still_until_it_is_released() -> None:
    """Race explorer: what others do meanwhile is done while this unit stands at its commit."""
    world = World()
    messages = world.amounts(count=3)
    await world.feed(messages)
    with CrashPlan() as plan:
        gate = plan.block("consumer.before_commit", match=CONSUMER)
        async with world.running(world.consumer):
            await world.clock.until(lambda: gate.is_reached)
            assert gate.name == CONSUMER
            assert not world.effects
            gate.release()
            await world.clock.until(lambda: world.done(messages))
    assert len(world.effects) == 3


async def test_a_block_is_waited_for_and_may_be_released_before_it_is_reached() -> None:
    """`reached` returns when the point is; a gate that is open already holds nobody."""
    with CrashPlan() as plan:
        gate, open_gate = plan.block("mine.before_act"), plan.block("mine.after_act")
        open_gate.release()
        acting = asyncio.create_task(come_to("mine.before_act"))
        await gate.reached()
        assert not acting.done()
        gate.release()
        await acting
        await come_to("mine.after_act")


async def test_a_plan_that_ends_lets_go_what_stands_still() -> None:
    """A test that fails in mid-air leaves no task behind that waits for ever."""
    plan = CrashPlan()
    with pytest.raises(KeyError), plan:
        gate = plan.block("mine.before_act")
        acting = asyncio.create_task(come_to("mine.before_act"))
        await gate.reached()
        raise KeyError
    await acting
    assert crash_points.hook is None


async def test_a_delay_lasts() -> None:
    """The task stands for the time that was asked for, once."""
    clock = asyncio.get_running_loop().time
    with CrashPlan() as plan:
        plan.delay("mine.before_act", seconds=0.05)
        start = clock()
        await come_to("mine.before_act")
        assert clock() - start >= 0.05


def test_a_kill_is_a_sigkill() -> None:
    """Not even a `finally` runs."""
    answer = subprocess.run(
        [sys.executable, "-c", DIES], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == -signal.SIGKILL
    assert answer.stdout == "before\n"


async def test_only_the_occurrence_that_is_meant_counts() -> None:
    """`match` is the whole name, `nth` counts those that match, and it happens once."""
    with CrashPlan() as plan:
        plan.fail("mine.before_act", KeyError("here"), match="orders", nth=2)
        for name in ("orders", "orders-2", "payments"):
            await come_to("mine.before_act", name)
        with pytest.raises(KeyError):
            await come_to("mine.before_act", "orders")
        await come_to("mine.before_act", "orders")


async def test_what_is_raised_says_whether_the_act_stands() -> None:
    """Before an act, or while it can be rolled back: transient. Behind it: unknown."""
    with CrashPlan() as plan:
        plan.fail("settle.before_commit")
        plan.fail("settle.after_commit")
        with pytest.raises(TransientError, match="failed at settle"):
            await come_to("settle.before_commit")
        with pytest.raises(OutcomeUnknownError) as unknown:
            await come_to("settle.after_commit")
    assert isinstance(unknown.value, CutConnectionError)
    assert isinstance(unknown.value, OSError)


async def test_a_lost_answer_is_that_of_the_task_that_was_meant() -> None:
    """Another task's commit goes on undisturbed meanwhile."""

    async def commit(name: str) -> None:
        await come_to("consumer.before_commit", name)
        await asyncio.sleep(0)
        await come_to("transaction.after_commit")

    with CrashPlan() as plan:
        plan.do_then_fail("consumer.before_commit", match="a")
        outcomes = await asyncio.gather(commit("a"), commit("b"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [CutConnectionError, type(None)]


async def test_an_act_that_fails_by_itself_is_done_at_a_later_time() -> None:
    """A call sends a mail whose answer is lost: the call's own answer is lost at the next one."""

    async def call() -> None:
        await come_to("delivery.before_call")
        await come_to("mine.before_act")
        await come_to("mine.after_act")
        await come_to("delivery.after_call")

    with CrashPlan() as plan:
        plan.do_then_fail("delivery.before_call", KeyError("outer"))
        plan.do_then_fail("mine.before_act", KeyError("inner"))
        with pytest.raises(KeyError, match="inner"):
            await call()
        with pytest.raises(KeyError, match="outer"):
            await call()
        await call()


def test_a_plan_that_reached_nothing_fails() -> None:
    """A test whose crash never happened has shown nothing."""
    with (
        pytest.raises(AssertionError, match=r"never reached: fail at consumer\.before_claim"),
        CrashPlan() as plan,
    ):
        plan.fail("consumer.before_claim")


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (lambda plan: plan.kill("consumer.befor_commit"), "no crash point of this process"),
        (lambda plan: plan.do_then_fail("consumer.after_commit"), "its act is done already"),
    ],
)
def test_what_could_never_happen_is_refused(arm: object, words: str) -> None:
    """A misspelt point, and an act that is over."""
    assert callable(arm)
    with CrashPlan() as plan, pytest.raises(ConfigurationError, match=words):
        arm(plan)


def test_there_is_one_plan_at_a_time() -> None:
    """Two would count each other's occurrences."""
    with CrashPlan(), pytest.raises(RuntimeError, match="another plan"):
        CrashPlan().install()
