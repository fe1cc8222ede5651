"""Limits in memory and in a real Redis keep the same promises; without Redis they stay limits."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.redis_server import RedisServer

from waybill.commerce.caching.redis_link import RedisLink
from waybill.commerce.caching.settings import RedisSettings
from waybill.edge.limits.memory import MemoryLimits
from waybill.edge.limits.ports import AttemptLimit, Quota
from waybill.edge.limits.shared import SharedLimits
from waybill.messaging.core.breaker import BreakerPolicy
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from waybill.edge.limits.ports import Limits

BREAKER = BreakerPolicy(
    window_size=4, calls_min=2, slow_seconds=60.0, open_seconds=0.1, half_open_calls=1
)
PATIENT_SECONDS, IMPATIENT_SECONDS = 10.0, 0.3
QUOTA = Quota("subject", 3, 600)
ATTEMPTS = AttemptLimit(name="account", attempts_max=3, window_seconds=600.0)
ADA = "ada@example.org"


@pytest.fixture(scope="module")
def server(session_directory: Path) -> Iterator[RedisServer]:
    """One for all tests here; each leaves it running."""
    server = RedisServer(session_directory)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def shared(
    server: RedisServer, prefix: str, timeout_seconds: float = PATIENT_SECONDS
) -> AsyncIterator[tuple[SharedLimits, RedisLink]]:
    """One process' limits in Redis; those of one prefix count together."""
    settings = RedisSettings(url=server.url, timeout_seconds=timeout_seconds, prefix=prefix)
    clock = SystemClock()
    link = RedisLink(settings, clock=clock, random=lambda: 0.5, breaker=BREAKER)
    try:
        yield SharedLimits(link, monotonic=clock.monotonic), link
    finally:
        await link.close()


@pytest.fixture(params=["memory", "redis"])
async def limits(request: pytest.FixtureRequest, server: RedisServer) -> AsyncIterator[Limits]:
    """Either, empty."""
    if request.param == "memory":
        yield MemoryLimits(monotonic=time.monotonic)
        return
    async with shared(server, f"{new_id()}:") as (made, _):
        yield made


async def test_a_quota_is_given_out_once_to_each_key(limits: Limits) -> None:
    """R043's limits: `count` at once; a refused call takes nothing, and no other key pays."""
    buckets = limits.buckets(QUOTA)
    taken = [await buckets.take(ADA) for _ in range(3)]
    assert [(each.remaining, each.wait_seconds) for each in taken] == [(2, 0), (1, 0), (0, 0)]
    refused = [await buckets.take(ADA) for _ in range(4)]
    waits = [each.wait_seconds for each in refused]
    assert all(0 < wait <= 200 for wait in waits)
    assert waits == sorted(waits, reverse=True)  # it comes nearer whoever asks meanwhile
    assert refused[0].limit.startswith('"subject";r=0;t=')
    assert (await buckets.take("bob")).remaining == 2


async def test_what_was_taken_comes_back_with_time(limits: Limits) -> None:
    """Never more than the quota and what its rate gives; who waits is let in."""
    quota = Quota("quick", 2, 1)
    buckets, began, given, was_refused = limits.buckets(quota), time.monotonic(), 0, False
    async with asyncio.timeout(20):
        while True:
            allowed = (await buckets.take(ADA)).wait_seconds == 0
            given += allowed
            assert given <= quota.count + (time.monotonic() - began) * quota.rate + 0.01
            if allowed and was_refused:
                return
            was_refused = was_refused or not allowed
            await asyncio.sleep(0.01)


async def test_attempts_are_counted_until_one_succeeds(limits: Limits) -> None:
    """API2: so many in a window; those beyond it do not lengthen it; success forgets them."""
    attempts = limits.attempts(ATTEMPTS)
    assert [await attempts.take(ADA) for _ in range(3)] == [0, 0, 0]
    waits = [await attempts.take(ADA) for _ in range(3)]
    assert all(0 < wait <= 600 for wait in waits)
    assert waits == sorted(waits, reverse=True)
    assert await attempts.take("bob") == 0
    await attempts.forget(ADA)
    assert await attempts.take(ADA) == 0


async def test_a_window_of_attempts_ends(limits: Limits) -> None:
    """Whoever waited for it may try again."""
    attempts = limits.attempts(AttemptLimit(name="quick", attempts_max=1, window_seconds=0.2))
    assert await attempts.take(ADA) == 0
    async with asyncio.timeout(20):
        while True:
            if await attempts.take(ADA) == 0:
                return
            await asyncio.sleep(0.01)


async def test_processes_count_together_and_redis_learns_no_address(server: RedisServer) -> None:
    """Two gateways allow no more than one; names stand there as hashes, and for a while only."""
    prefix = f"{new_id()}:"
    async with shared(server, prefix) as (one, link), shared(server, prefix) as (other, _):
        buckets, attempts = one.buckets(QUOTA), one.attempts(ATTEMPTS)
        for _ in range(3):
            assert (await buckets.take(ADA)).wait_seconds == 0
            assert await attempts.take(ADA) == 0
        assert (await other.buckets(QUOTA).take(ADA)).wait_seconds > 0
        assert await other.attempts(ATTEMPTS).take(ADA) > 0
        await attempts.forget(ADA)
        assert await other.attempts(ATTEMPTS).take(ADA) == 0
        keys = [key async for key in link.redis.scan_iter(match=f"{prefix}*")]
        assert len(keys) == 2
        for key in keys:
            assert b"ada" not in key
            assert await link.redis.pttl(key) > 0


def is_up(link: RedisLink) -> bool:
    """By a function, since mypy takes a property for something that stays."""
    return link.is_up


async def test_a_killed_redis_leaves_each_process_its_own_limit(server: RedisServer) -> None:
    """Promises, rate limits: never open. What this process let in counts on; new keys get theirs.

    What Redis lost is not given out again when it is back.
    """
    async with shared(server, f"{new_id()}:") as (limits, link):
        buckets, attempts = limits.buckets(QUOTA), limits.attempts(ATTEMPTS)
        for _ in range(3):
            assert (await buckets.take(ADA)).wait_seconds == 0
            assert await attempts.take(ADA) == 0
        server.kill()
        try:
            for _ in range(10):
                assert (await buckets.take(ADA)).wait_seconds > 0
                assert await attempts.take(ADA) > 0
            allowed = [(await buckets.take("bob")).wait_seconds == 0 for _ in range(5)]
            tried = [await attempts.take("bob") == 0 for _ in range(5)]
            assert allowed == tried == [True, True, True, False, False]
            assert not is_up(link)
            assert link.skipped > link.failed
        finally:
            server.start()
        async with asyncio.timeout(20):
            while not (is_up(link) and await link.answers()):
                await link.answers()
                await asyncio.sleep(0.01)
        assert (await buckets.take(ADA)).wait_seconds > 0
        assert await attempts.take(ADA) > 0
        await attempts.forget(ADA)
        assert await attempts.take(ADA) == 0


async def test_a_redis_that_hangs_holds_nobody_up(server: RedisServer) -> None:
    """SIGSTOP: a few short time-outs, then nothing; the limit holds meanwhile."""
    async with shared(server, f"{new_id()}:", IMPATIENT_SECONDS) as (limits, link):
        buckets = limits.buckets(QUOTA)
        with server.frozen():
            async with asyncio.timeout(20):
                taken = [await buckets.take(ADA) for _ in range(50)]
            assert sum(each.wait_seconds == 0 for each in taken) == 3
            assert link.failed < 10
