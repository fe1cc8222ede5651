"""Redis in front of the database: hits when it is there, latency only when it is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.blocking import no_blocking_calls
from tests.messaging.ledger import CODEC, Copied
from tests.redis_server import RedisServer

from waybill.commerce.caching.cache import LATER_MAX, WriteBehind
from waybill.commerce.caching.catalogue import CatalogueCache
from waybill.commerce.caching.dedupe import DedupeCache, name_of
from waybill.commerce.caching.idempotency import Asked, IdempotencyCache
from waybill.commerce.caching.redis_cache import RedisCache
from waybill.commerce.caching.settings import RedisSettings
from waybill.messaging.core.breaker import BreakerPolicy, BreakerState
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.unit import Received
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.ports import SilentObserver
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from waybill.messaging.core.unit import UnitOfWork

BREAKER = BreakerPolicy(
    window_size=4, calls_min=2, slow_seconds=60.0, open_seconds=0.1, half_open_calls=1
)
PATIENT_SECONDS, IMPATIENT_SECONDS = 10.0, 0.3
ASKED = Asked("", "POST /api/v1/orders", "key-1", "a1b2")


@pytest.fixture(scope="module")
def server(session_directory: Path) -> Iterator[RedisServer]:
    """One for all tests here; each leaves it running."""
    server = RedisServer(session_directory)
    server.start()
    yield server
    server.kill()


def a_cache(server: RedisServer, timeout_seconds: float) -> RedisCache:
    """With keys of its own."""
    settings = RedisSettings(
        url=server.url, timeout_seconds=timeout_seconds, prefix=f"{new_id()}:", value_bytes_max=1000
    )
    return RedisCache(settings, clock=SystemClock(), random=lambda: 0.5, breaker=BREAKER)


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[RedisCache]:
    """Patient, so that a busy machine makes no misses."""
    cache = a_cache(server, PATIENT_SECONDS)
    yield cache
    await cache.close()


@contextlib.asynccontextmanager
async def writing(cache: RedisCache) -> AsyncIterator[WriteBehind]:
    """What writes later, running."""
    writes = WriteBehind(cache, clock=SystemClock(), observer=SilentObserver())
    task = asyncio.create_task(writes.run())
    yield writes
    writes.stop()
    await task


async def until(condition: Any) -> None:  # noqa: ANN401 - a function that gives a bool, or awaits one
    """Wait for it."""
    async with asyncio.timeout(20):
        while True:
            holds = condition()
            if holds is True or (holds is not False and await holds):
                return
            await asyncio.sleep(0.01)


class Products:
    """The database's side of the catalogue."""

    def __init__(self) -> None:
        self.loads: Counter[str] = Counter()
        self.names = {"p-1": b"mouse", "p-2": b"keyboard"}
        self.gate: asyncio.Event | None = None

    async def load(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Reads them."""
        self.loads.update(ids)
        if self.gate is not None:
            await self.gate.wait()
        return {each: self.names[each] for each in ids if each in self.names}


async def test_what_was_put_is_found_until_it_is_dropped_or_over(cache: RedisCache) -> None:
    """Several at once; what is too large is not kept; nothing blocks the event loop."""
    with no_blocking_calls():
        await cache.put({"a": b"1", "b": b"2", "large": b"x" * 1001}, seconds=60)
        await cache.put({"short": b"3"}, seconds=0.001)
        assert await cache.get(["a", "b", "c", "large"]) == {"a": b"1", "b": b"2"}
        await cache.drop(["a"])
        assert await cache.get(["a", "b"]) == {"b": b"2"}

    async def is_over() -> bool:
        return not await cache.get(["short"])

    await until(is_over)
    assert cache.counts["failed"] == cache.counts["skipped"] == 0


async def test_a_stored_answer_is_for_the_same_request_only(cache: RedisCache) -> None:
    """Another payload, caller or route is no hit: the database decides (P5, C42)."""
    async with writing(cache) as writes:
        answers = IdempotencyCache(cache, writes)
        assert await answers.answer(ASKED) is None
        answers.remember(ASKED, b'{"orderId":"ord_1"}')

        async def is_there() -> bool:
            return await answers.answer(ASKED) == b'{"orderId":"ord_1"}'

        await until(is_there)
        others = [("anna", *_of(ASKED)[1:]), ("", "POST /other", "key-1", "a1b2")]
        others += [
            ("", "POST /api/v1/orders", "key-1", "ffff"),
            ("", "POST /api/v1/orders", "k", "a"),
        ]
        for other in others:
            assert await answers.answer(Asked(*other)) is None
    assert list(await cache.get(["idem:key-1"])) == ["idem:key-1"]


def _of(asked: Asked) -> tuple[str, str, str, str]:
    return (asked.scope, asked.route, asked.key, asked.fingerprint)


async def test_an_entry_of_others_is_no_answer(cache: RedisCache) -> None:
    """Whatever stands under the key: not ours to read is a miss, and no error."""
    async with writing(cache) as writes:
        for value in (b"", b"\xff", b'{"orderId":1}'):
            await cache.put({"idem:key-1": value, name_of(new_id(), "c"): value}, seconds=60)
            assert await IdempotencyCache(cache, writes).answer(ASKED) is None


async def test_an_event_is_remembered_after_its_commit_only(cache: RedisCache) -> None:
    """Protocol C13: a unit that rolled back leaves no entry, one that committed does.

    Each consumer of an event has its own, though they share one Redis (R116).
    """
    service = MemoryService(CODEC)
    async with writing(cache) as writes:
        consumers = ("payment-service", "inventory-service")
        first, second = (DedupeCache(writes, consumer=each) for each in consumers)
        messages = [service.message(Copied(name, 1), key=name) for name in ("failed", "done")]
        received = [[Received(each, Copied("x", 1))] for each in messages]

        async def handle(_: UnitOfWork, batch: Sequence[Received]) -> None:
            assert batch

        remembering = first.remembering(handle)
        for batch in received:
            with contextlib.suppress(LookupError):
                async with service.database.transaction() as transaction:
                    await remembering(service.ports.unit(transaction), batch)
                    if batch[0].message.key == "failed":
                        raise LookupError
        failed, done = (message.id for message in messages)

        async def remembered() -> set[str]:
            names = [name_of(each, who) for each in (failed, done) for who in consumers]
            return set(await cache.get(names))

        async def by_the_first() -> bool:
            return await remembered() == {f"dedupe:{done}:payment-service"}

        await until(by_the_first)
        second.remember([done])

        async def by_both() -> bool:
            return await remembered() == {f"dedupe:{done}:{each}" for each in consumers}

        await until(by_both)


async def test_the_catalogue_is_read_once_until_it_changes(cache: RedisCache) -> None:
    """Many readers at once, one read of the database; a change is seen by the next reader."""
    products = Products()
    products.gate = asyncio.Event()
    catalogue = CatalogueCache(cache, products.load, random=lambda: 0.5)
    readers = [asyncio.create_task(catalogue.products(["p-1", "p-2", "none"])) for _ in range(9)]
    gone = asyncio.create_task(catalogue.products(["p-1"]))
    await until(lambda: cache.counts["miss"] == len(readers) * 3 + 1)  # all have asked the cache
    gone.cancel()
    products.gate.set()
    assert [await reader for reader in readers] == [products.names] * 9
    assert await catalogue.products(["p-2", "p-1"]) == products.names
    assert products.loads == {"p-1": 1, "p-2": 1, "none": 1}
    products.names["p-1"] = b"trackball"
    await catalogue.changed(["p-1"])
    assert await catalogue.products(["p-1"]) == {"p-1": b"trackball"}
    assert products.loads["p-1"] == 2


async def test_what_the_database_raises_reaches_whoever_asks(cache: RedisCache) -> None:
    """The cache hides its own errors, not the database's, and asks again the next time."""
    products = Products()
    products.names = {}

    async def load(ids: Sequence[str]) -> Mapping[str, bytes]:
        if not products.names:
            raise LookupError
        return await products.load(ids)

    catalogue = CatalogueCache(cache, load, random=lambda: 0.5)
    with pytest.raises(LookupError):
        await catalogue.products(["p-1"])
    products.names = {"p-1": b"mouse"}
    assert await catalogue.products(["p-1"]) == products.names


async def test_a_killed_redis_costs_latency_only(server: RedisServer, cache: RedisCache) -> None:
    """SIGKILL under readers: every answer is right, few commands are tried, hits come back."""
    products = Products()
    catalogue = CatalogueCache(cache, products.load, random=lambda: 0.5)
    async with writing(cache) as writes:
        answers = IdempotencyCache(cache, writes)
        await catalogue.products(["p-1"])
        answers.remember(ASKED, b"{}")

        async def is_there() -> bool:
            return await answers.answer(ASKED) == b"{}"

        await until(is_there)
        server.kill()
        try:
            for _ in range(50):
                assert await catalogue.products(["p-1", "p-2"]) == products.names
                assert await answers.answer(ASKED) is None
                await catalogue.changed(["p-1"])
                answers.remember(ASKED, b"{}")
            assert cache.breaker.state(SystemClock().monotonic()) is not BreakerState.CLOSED
            assert cache.counts["skipped"] > cache.counts["failed"]
        finally:
            server.start()

        async def hits_again() -> bool:
            before = cache.counts["hit"]
            assert await catalogue.products(["p-1"]) == {"p-1": b"mouse"}
            answers.remember(ASKED, b"{}")
            return cache.counts["hit"] > before and await is_there()

        await until(hits_again)


async def test_a_redis_that_hangs_costs_a_few_time_outs(server: RedisServer) -> None:
    """SIGSTOP: no reader waits longer than its time, and no late reply is taken for another's."""
    cache = a_cache(server, IMPATIENT_SECONDS)
    everything = {"a": b"of a", "b": b"of b"}

    async def is_whole() -> bool:
        await cache.put(everything, seconds=600)
        return await cache.get(["a", "b"]) == everything

    await until(is_whole)
    with server.frozen():
        answers = await asyncio.gather(*(cache.get(["a"]) for _ in range(20)))
        assert answers == [{}] * 20
        assert await cache.get(["a"]) == {}
        assert cache.breaker.state(SystemClock().monotonic()) is not BreakerState.CLOSED

    for key in ("a", "b") * 10:

        async def is_its_own(key: str = key) -> bool:
            value = (await cache.get([key])).get(key)
            assert value in {None, everything[key]}
            return value is not None

        await until(is_its_own)
    await cache.close()


async def test_a_reader_that_goes_away_leaves_no_reply_behind(cache: RedisCache) -> None:
    """A cancelled command's answer is not the next one's, and counts neither way."""
    await cache.put({"a": b"of a", "b": b"of b"}, seconds=60)
    for turns in range(6):
        task = asyncio.create_task(cache.get(["a"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await cache.get(["b"]) == {"b": b"of b"}
    assert cache.counts["failed"] == 0


async def test_writes_that_wait_are_bounded(cache: RedisCache) -> None:
    """More than so many are dropped and counted: memory is not where an outage collects."""
    writes = WriteBehind(cache, clock=SystemClock(), observer=SilentObserver())
    for number in range(LATER_MAX + 3):
        writes.later(str(number), b"", seconds=1)
    assert writes.dropped == 3


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({"REDIS_HOST": "cache"}, "redis://cache:6379/0"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "7000"}, "redis://cache:7000/0"),
        (
            {"REDIS_URL": "rediss://:open-it@cache:6379/1", "REDIS_HOST": "x"},
            "rediss://:open-it@cache:6379/1",
        ),
    ],
)
def test_the_documents_variables_are_taken(environment: dict[str, str], url: str | None) -> None:
    """REDIS_HOST and REDIS_PORT, or REDIS_URL, which may hold a password and is not shown."""
    settings = RedisSettings.from_environment(environment)
    assert (settings.url if settings else None) == url
    assert "open-it" not in repr(settings)


def test_a_url_that_is_none_is_refused_at_start() -> None:
    """With what to give."""
    with pytest.raises(ConfigurationError, match="redis://host:port"):
        RedisSettings(url="http://cache")
