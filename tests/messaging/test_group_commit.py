"""The intake: one flush at a time, no timer, and nobody pays for a neighbour (I1 to I4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    OverloadedError,
    PermanentError,
    TransientError,
)
from waybill.messaging.runtime.admission import WaitEstimate
from waybill.messaging.runtime.group_commit import GroupCommit, GroupCommitPolicy
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Intake:
    """A group commit over a flush that a test can hold, and that remembers what it got."""

    def __init__(self, **policy: float) -> None:
        self.clock = FakeClock()
        self.flushed: list[list[int]] = []
        self.gate: asyncio.Event | None = None
        self.in_flight = self.in_flight_max = 0
        self.mood: Callable[[Sequence[int]], None] = lambda _requests: None
        self.random = 0.5
        self.commit: GroupCommit[int, str] = GroupCommit(
            "intake",
            self.flush,
            clock=self.clock,
            observer=SilentObserver(),
            random=lambda: self.random,
            policy=GroupCommitPolicy(**policy),  # type: ignore[arg-type] # its fields
        )
        self.task = asyncio.create_task(self.commit.run())

    async def flush(self, requests: Sequence[int]) -> list[str | Exception]:
        """Write the requests; negative ones are answered with an error of their own."""
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)
        self.flushed.append(list(requests))
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.mood(requests)
            return [LookupError(str(each)) if each < 0 else f"order {each}" for each in requests]
        finally:
            self.in_flight -= 1

    def submit(self, *requests: int) -> list[asyncio.Task[str]]:
        """Callers that wait for their answers."""
        return [asyncio.create_task(self.commit.submit(each)) for each in requests]

    async def hold(self) -> asyncio.Event:
        """Begin a flush of request 0 that lasts until the returned event is set."""
        self.gate = gate = asyncio.Event()
        self.submit(0)
        await self.clock.settle()
        self.flushed.clear()
        return gate


async def results(tasks: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
    """What each caller got."""
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_i4_one_flush_in_flight_and_the_next_takes_all_that_queued() -> None:
    """I4: requests that come during a flush are the next one, together, in their order."""
    intake = Intake()
    gate = await intake.hold()
    tasks = intake.submit(1, 2, 3, 4)
    await intake.clock.settle()
    assert intake.flushed == []
    gate.set()
    assert await results(tasks) == ["order 1", "order 2", "order 3", "order 4"]
    assert intake.flushed == [[1, 2, 3, 4]]
    assert intake.in_flight_max == 1


async def test_an_idle_intake_flushes_at_once() -> None:
    """No timer: a single request waits for nobody."""
    intake = Intake()
    await intake.clock.settle()
    assert await results(intake.submit(7)) == ["order 7"]
    assert intake.clock.monotonic() == 0.0


async def test_i1_each_request_gets_its_own_answer() -> None:
    """I1: results stand in the order of the requests, errors among them."""
    intake = Intake()
    good, bad, other = await results(intake.submit(1, -2, 3))
    assert (good, other) == ("order 1", "order 3")
    assert isinstance(bad, LookupError)


async def test_i3_one_bad_request_fails_alone() -> None:
    """I3: a permanent error of a flush is halved until the one to blame is alone."""
    intake = Intake()
    gate = await intake.hold()

    def refuse(requests: Sequence[int]) -> None:
        if 5 in requests:
            raise PermanentError("numeric field overflow")

    intake.mood = refuse
    tasks = intake.submit(*range(1, 9))
    gate.set()
    answers = await results(tasks)
    assert isinstance(answers[4], PermanentError)
    assert [a for n, a in enumerate(answers) if n != 4] == [
        f"order {n}" for n in range(1, 9) if n != 5
    ]


async def test_i2_a_request_is_handed_to_every_run_as_it_is() -> None:
    """I2: halves are made of the same request objects, so ids fixed in them stay."""
    intake = Intake()
    gate = await intake.hold()

    def refuse(requests: Sequence[int]) -> None:
        if len(requests) > 1:
            raise KeyError("a bug")

    intake.mood = refuse
    tasks = intake.submit(1, 2)
    gate.set()
    assert await results(tasks) == ["order 1", "order 2"]
    assert intake.flushed == [[1, 2], [1], [2]]


@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError])
async def test_i3_what_is_nobodys_fault_reaches_all_and_is_not_repeated(
    error: type[Exception],
) -> None:
    """I3: only permanent errors are bisected; an unknown outcome is passed on as it is."""
    intake = Intake()
    gate = await intake.hold()

    def fail(_requests: Sequence[int]) -> None:
        raise error("connection reset")

    intake.mood = fail
    tasks = intake.submit(1, 2, 3)
    gate.set()
    answers = await results(tasks)
    assert [type(answer) for answer in answers] == [error] * 3
    assert len({id(answer) for answer in answers}) == 3
    assert intake.flushed == [[1, 2, 3]]
    intake.mood = lambda _requests: None
    assert await results(intake.submit(4)) == ["order 4"]


async def test_i3_a_client_that_left_breaks_no_neighbour() -> None:
    """I3: cancelled while queued it is not written; cancelled in flight only its answer is lost."""
    intake = Intake()
    gate = await intake.hold()
    queued = intake.submit(1, 2, 3)
    await intake.clock.settle()
    queued[1].cancel()
    await intake.clock.settle()
    gate.set()
    await intake.clock.settle()
    assert intake.flushed == [[1, 3]]
    intake.gate = asyncio.Event()
    flying = intake.submit(4, 5)
    await intake.clock.settle()
    flying[0].cancel()
    intake.gate.set()
    answers = await results([*queued, *flying])
    assert [answers[0], answers[2], answers[4]] == ["order 1", "order 3", "order 5"]
    assert intake.flushed == [[1, 3], [4, 5]]


async def test_p10_a_full_queue_refuses_at_once() -> None:
    """P10: memory is bounded; what is refused says when to come back, and nothing was done."""
    intake = Intake(queue_max=2)
    gate = await intake.hold()
    admitted = intake.submit(1, 2)
    await intake.clock.settle()
    intake.random = 0.9
    with pytest.raises(OverloadedError) as refused:
        await intake.commit.submit(3)
    assert refused.value.retry_after_seconds == 3
    with pytest.raises(OverloadedError):
        intake.commit.admit()
    gate.set()
    assert await results(admitted) == ["order 1", "order 2"]
    intake.commit.admit()


async def test_i3_overdue_requests_are_refused_before_the_flush() -> None:
    """I3: who waited too long is told that nothing was done, and is not written."""
    intake = Intake(entry_seconds_max=2.0)
    gate = await intake.hold()
    old = intake.submit(1)
    await intake.clock.advance(2.1)
    young = intake.submit(2)
    await intake.clock.settle()
    gate.set()
    (overdue,) = await results(old)
    assert isinstance(overdue, OverloadedError)
    assert await results(young) == ["order 2"]
    assert intake.flushed == [[2]]


async def test_a_batch_never_exceeds_its_limit() -> None:
    """Limits on everything: a long queue becomes several flushes."""
    intake = Intake(batch_max=3)
    gate = await intake.hold()
    tasks = intake.submit(*range(1, 9))
    await intake.clock.settle()
    gate.set()
    await results(tasks)
    assert [len(batch) for batch in intake.flushed] == [3, 3, 2]


async def test_p11_stop_drains_the_queue_and_takes_no_more() -> None:
    """P11: what was accepted is written; what comes after is refused."""
    intake = Intake()
    gate = await intake.hold()
    tasks = intake.submit(1, 2)
    await intake.clock.settle()
    intake.commit.stop()
    with pytest.raises(OverloadedError):
        await intake.commit.submit(3)
    gate.set()
    assert await results(tasks) == ["order 1", "order 2"]
    await intake.task


async def test_p11_an_intake_that_is_ended_by_force_leaves_nobody_waiting() -> None:
    """P11: in flight is unknown, queued is refused: each caller knows what to do."""
    intake = Intake()
    intake.gate = asyncio.Event()
    flying = intake.submit(1)
    await intake.clock.settle()
    queued = intake.submit(2)
    await intake.clock.settle()
    intake.task.cancel()
    answers = await results([*flying, *queued])
    assert [type(answer) for answer in answers] == [OutcomeUnknownError, OverloadedError]


async def test_p10_admission_asks_for_the_wait() -> None:
    """P10: while flushes take long, new requests are refused before they are parsed."""
    intake = Intake(wait_seconds_max=0.2, batch_max=10)
    gate = await intake.hold()
    await intake.clock.advance(0.15)
    intake.commit.admit()
    await intake.clock.advance(0.1)
    with pytest.raises(OverloadedError, match="would wait"):
        intake.commit.admit()
    gate.set()
    await intake.clock.settle()
    intake.commit.admit()


def test_wait_is_what_is_left_of_the_flush_and_the_full_ones_before() -> None:
    """P10: 100 ms a flush, 40 ms into one, 25 queued in batches of 10: 60 + 2 · 100 ms."""
    estimate = WaitEstimate()
    for start in range(5):
        estimate.flush_began(float(start))
        estimate.flush_ended(start + 0.1)
    estimate.flush_began(10.0)
    assert estimate.seconds(10.04, queued=25, batch_max=10) == pytest.approx(0.26)
    assert estimate.seconds(10.04, queued=9, batch_max=10) == pytest.approx(0.06)
    assert estimate.seconds(10.5, queued=0, batch_max=10) == pytest.approx(0.5)


async def test_a_flush_that_answers_too_few_leaves_nobody_waiting() -> None:
    """A bug in the user's flush is loud: the loop crashes, callers know nothing for sure."""
    intake = Intake()

    async def forgetful(_requests: Sequence[int]) -> list[str | Exception]:
        await asyncio.sleep(0)
        return []

    intake.commit._flush = forgetful
    (answer,) = await results(intake.submit(1))
    assert isinstance(answer, OutcomeUnknownError)
    with pytest.raises(ValueError, match="zip"):
        await intake.task


def test_limits_of_zero_are_refused() -> None:
    """A policy that admits nobody is a mistake of set-up."""
    with pytest.raises(ConfigurationError):
        GroupCommitPolicy(queue_max=0)


async def test_a_long_wait_for_the_first_request_is_no_standstill() -> None:
    """Readiness stays green: the age counts from when there was something to do."""
    intake = Intake()
    await intake.clock.advance(3_600.0)
    assert intake.commit.progress_age_seconds == 0.0
    intake.gate = asyncio.Event()
    (first,) = intake.submit(1)
    await intake.clock.advance(0.5)
    assert intake.commit.progress_age_seconds == 0.5
    await intake.clock.advance(10.0)
    assert intake.commit.progress_age_seconds == 10.5
    intake.gate.set()
    assert await first == "order 1"
