"""Periodic work: one process at a time, again after a crash, whoever is there (C14)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CODEC

from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.scheduler import Job, LocalSchedule, Scheduler
from waybill.messaging.testing.crash_points import CrashPlan
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Schedule


class Work:
    """A job's work that notes when it ran."""

    def __init__(self, service: MemoryService) -> None:
        self.service = service
        self.times: list[float] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.running = self.running_max = 0

    async def __call__(self) -> None:
        self.times.append(self.service.clock.monotonic())
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.running -= 1


def scheduler(service: MemoryService, *jobs: Job, schedule: Schedule | None = None) -> Scheduler:
    """One process's scheduler over the shared table."""
    return Scheduler(
        f"scheduler {new_id()}",
        jobs,
        schedule=schedule or service.schedule,
        clock=service.clock,
        observer=service.observer,
        random=service.ports.random,
        new_id=new_id,
    )


async def test_c14_two_processes_run_a_job_once_an_interval() -> None:
    """C14: rows are claimed, so nobody needs to be the leader."""
    service = MemoryService(CODEC)
    work = Work(service)
    job = Job(name="deadlines", run=work, every_seconds=10)
    async with service.running(scheduler(service, job), scheduler(service, job)):
        await service.clock.advance(100.0)
    assert 9 <= len(work.times) <= 11
    assert work.running_max == 1


@pytest.mark.parametrize("act", ["fail", "do_then_fail"])
async def test_an_end_that_could_not_be_stored_costs_a_moment_and_not_a_lease(act: str) -> None:
    """C14: a blip when a job ends delays its next turn by a backoff; a lease would be 20 s."""
    service = MemoryService(CODEC)
    work = Work(service)
    job = Job(name="deadlines", run=work, every_seconds=1)
    with CrashPlan() as plan:
        getattr(plan, act)("job.before_finish", match="deadlines")
        async with service.running(scheduler(service, job)):
            await service.clock.until(lambda: len(work.times) == 3)
    assert work.times[2] < 5
    assert work.running_max == 1


async def test_c14_after_a_crash_another_process_goes_on() -> None:
    """C14: a job whose process died in the middle is due again when its lease ends."""
    service = MemoryService(CODEC)
    work = Work(service)
    work.gate = asyncio.Event()
    job = Job(name="deadlines", run=work, every_seconds=1, lease_seconds=20)
    dead = asyncio.create_task(scheduler(service, job).run())
    await service.clock.until(lambda: len(work.times) == 1)
    dead.cancel()
    with suppress(asyncio.CancelledError):
        await dead
    work.gate.set()
    async with service.running(scheduler(service, job)):
        await service.clock.advance(19.0)
        assert len(work.times) == 1
        await service.clock.advance(3.0)
        assert len(work.times) >= 2


async def test_a_job_that_fails_is_tried_again_and_stops_no_other() -> None:
    """An error costs its own job a backoff, never more than its interval."""
    service = MemoryService(CODEC)
    bad, good = Work(service), Work(service)
    bad.error = KeyError("a bug")
    jobs = [
        Job(name="bad", run=bad, every_seconds=30),
        Job(name="good", run=good, every_seconds=10),
    ]
    async with service.running(scheduler(service, *jobs)):
        await service.clock.advance(60.0)
        assert 8 <= len(bad.times) <= 30
        assert 5 <= len(good.times) <= 8
        bad.error = None
        await service.clock.advance(10.0)
        tries = len(bad.times)
        await service.clock.advance(20.0)
        assert len(bad.times) <= tries + 1
    assert service.observer.counts["bad", "retried", "KeyError"] >= 8


async def test_c6_a_database_that_is_away_stops_nothing_for_good() -> None:
    """C6: claims fail for minutes, then the jobs go on within seconds."""
    service = MemoryService(CODEC)
    work, down = Work(service), False

    def fault(_point: str) -> None:
        if down:
            raise TransientError("connection refused")

    service.fault = fault
    async with service.running(scheduler(service, Job(name="job", run=work, every_seconds=5))):
        await service.clock.advance(1.0)
        down = True
        await service.clock.advance(120.0)
        assert len(work.times) == 1
        down = False
        await service.clock.advance(21.0)
        assert len(work.times) >= 2


async def test_intervals_are_jittered() -> None:
    """Processes that started together do not stay together."""
    service = MemoryService(CODEC)
    work = Work(service)
    chances = iter([0.0, 1.0] * 100)
    object.__setattr__(service.ports, "random", lambda: next(chances))
    job = Job(name="job", run=work, every_seconds=10, jitter_share=0.2)
    async with service.running(scheduler(service, job)):
        await service.clock.advance(100.0)
    gaps = [round(b - a) for a, b in zip(work.times, work.times[1:], strict=False)]
    assert set(gaps) == {8, 12}


async def test_p11_stop_waits_for_the_job_in_hand() -> None:
    """P11: a job that has begun ends, and its row is free at once."""
    service = MemoryService(CODEC)
    work = Work(service)
    work.gate = asyncio.Event()
    one = scheduler(service, Job(name="job", run=work, every_seconds=5))
    task = asyncio.create_task(one.run())
    await service.clock.until(lambda: len(work.times) == 1)
    one.stop()
    await service.clock.settle()
    assert not task.done()
    work.gate.set()
    await service.clock.until(task.done)
    row = service.database.tables["schedule"]["job"]
    assert row.lease_token is None


async def test_local_jobs_run_in_every_process() -> None:
    """A schedule of the process alone has the same rules."""
    service = MemoryService(CODEC)
    work = Work(service)
    job = Job(name="sample", run=work, every_seconds=10)
    async with service.running(
        scheduler(service, job, schedule=LocalSchedule(service.clock)),
        scheduler(service, job, schedule=LocalSchedule(service.clock)),
    ):
        await service.clock.advance(50.0)
    assert 10 <= len(work.times) <= 12


async def test_a_local_lease_ends_and_is_fenced() -> None:
    """A job that a crashed scheduler left behind is claimed again; its end does not count."""
    service = MemoryService(CODEC)
    schedule, first, second = LocalSchedule(service.clock), new_id(), new_id()
    await schedule.register(["job"])
    assert await schedule.claim(["job"], lease_token=first, lease_seconds=5) == ["job"]
    assert await schedule.claim(["job"], lease_token=second, lease_seconds=5) == []
    await service.clock.advance(5.0)
    assert await schedule.claim(["job"], lease_token=second, lease_seconds=5) == ["job"]
    assert not await schedule.finish("job", lease_token=first, next_seconds=1)
    assert await schedule.finish("job", lease_token=second, next_seconds=1)


def test_a_job_that_outlives_its_lease_is_refused() -> None:
    """A second process would run it at the same time."""
    with pytest.raises(ConfigurationError, match="run_seconds_max"):
        Job(name="job", run=asyncio.sleep, every_seconds=1, lease_seconds=5, run_seconds_max=5)  # type: ignore[arg-type] # never run
    with pytest.raises(ConfigurationError, match="jitter_share"):
        Job(name="job", run=asyncio.sleep, every_seconds=1, jitter_share=1.0)  # type: ignore[arg-type] # never run
