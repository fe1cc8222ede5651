"""A COMMIT that never arrives, or whose answer never does: we do not know whether it was done.

All connections of a whole platform go through a proxy, which cuts the one that commits before the
server hears of it, or after it did it and before the answer passes. Whoever asks again gets the
first answer, nothing happens twice, and the pool has every one of its connections afterwards.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows, value
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base, wait_for
from tests.acceptance.proxy import CommitProxy
from tests.acceptance.traffic import told, write_history

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.core.identity import new_id
from waybill.platform import event_loop
from waybill.platform.composition import Platform
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from httpx2 import Response
    from tests.acceptance.proxy import Cut, Transaction

    from waybill.operations.history import Entry

pytestmark = pytest.mark.acceptance

POOL_MAX = 4
"""As many cuts as that would leave no connection, if one were lost at each."""
SERVICES = ("order", "inventory", "payment", "notification")


class ServerBehind(EmbeddedPostgres):
    """A server that is reached through a port of this machine once `port` is set."""

    port = 0

    def socket_file(self) -> Path:
        """Where it listens."""
        (directory,) = parse_qs(urlsplit(super().url()).query)["host"]
        return Path(directory) / ".s.PGSQL.5432"

    def url(self, database: str = "postgres", role: str = "postgres") -> str:
        """See EmbeddedPostgres."""
        direct = super().url(database, role)
        if not self.port:
            return direct
        return direct.partition("?")[0].replace("@/", f"@127.0.0.1:{self.port}/")


class LoopThread:
    """An event loop that runs beside a test."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=event_loop.run, args=(self._run(),))
        self._thread.start()
        self._ready.wait()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._over.wait()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever work returns
        """Wait for `work`."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def stop(self) -> None:
        """End it."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


class World:
    """A platform behind the proxy, and customers."""

    def __init__(self, data: Path, stack: ExitStack) -> None:
        base = free_port_base()
        self.customer = PlatformProcess(data, port_base=base, environment={})
        self.told: list[Entry] = []
        stack.callback(self.customer.client.close)
        server = stack.enter_context(ServerBehind(data))
        self.loop = LoopThread()
        stack.callback(self.loop.stop)
        self.proxy = CommitProxy(server.socket_file())
        self.loop.run(self.proxy.start())
        stack.callback(lambda: self.loop.run(self.proxy.stop()))
        server.port = self.proxy.port
        settings = Settings.load(
            data_directory=data,
            port_base=base,
            payment_force_outcome="success",
            database_connections_max=POOL_MAX,
        )
        self.platform = Platform(settings, server)
        self.loop.run(self.platform.__aenter__())
        stack.callback(lambda: self.loop.run(self.platform.stop()))
        self.customer.raise_stock()

    def cut(
        self, which: Callable[[Transaction], bool], wanted: int = 1, *, before: bool = False
    ) -> Cut:
        """See CommitProxy.lose_answers and lose_requests."""
        lose = self.proxy.lose_requests if before else self.proxy.lose_answers
        return lose(which, wanted)

    def place(self, key: str) -> Response:
        """POST an order; the audit hears of the answer."""
        began = time.monotonic()
        answer = self.customer.place(key)
        self.told.append(told(key, began, answer))
        return answer

    def place_together(self, keys: list[str]) -> list[Response]:
        """POST these at the same time; the answers in their order."""
        with ThreadPoolExecutor(len(keys)) as pool:
            return list(pool.map(self.place, keys))

    def settle(self, key: str) -> Response:
        """Ask with this key until it is told what became of it; that answer."""
        answers: list[Response] = []

        def told_all() -> bool:
            answers.append(self.place(key))
            return answers[-1].status_code != 503

        wait_for(told_all, 30, "an answer that is not 503")
        assert not any(is_unknown(answer) for answer in answers)
        return answers[-1]

    def assert_well(self) -> None:
        """Nothing was lost or done twice, and every pool has all of its connections."""
        history = write_history(self.customer.data.parent, self.told)
        assert_balanced(self.customer, history=history)
        for running in self.platform.running.values():
            databases = (running.messaging.ports.database, *running.built.databases)
            for database in databases:
                assert isinstance(database, PostgresDatabase)
                self.loop.run(uses_all_of(database))
        wait_for(self.is_ready, 30, "every service is ready")

    def is_ready(self) -> bool:
        """As every service says of itself."""
        urls = [self.customer.url(offset) for offset in OFFSETS.values()]
        return all(self.customer.client.get(f"{url}/readyz").status_code == 200 for url in urls)


@pytest.fixture(scope="module")
def world(session_directory: Path, provisioned_data: Path) -> Iterator[World]:
    """One for all tests; each leaves it well."""
    directory = session_directory / "behind-a-proxy"
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    with ExitStack() as stack:
        yield World(directory / "data", stack)


async def uses_all_of(database: PostgresDatabase) -> None:
    """Each connection that the pool may have is there, and answers."""
    taken = [await database.acquire() for _ in range(POOL_MAX)]
    try:
        assert [await connection.fetchval("SELECT 1") for connection in taken] == [1] * POOL_MAX
        assert not any(connection.is_in_transaction() for connection in taken)
    finally:
        for connection in taken:
            await database.release(connection)


def is_unknown(answer: Response) -> bool:
    """Whether the order may have been placed or not; other 503s say that nothing was done."""
    return answer.status_code == 503 and answer.json()["code"] == "outcome_unknown"


def intake(transaction: Transaction) -> bool:
    """New orders with their keys."""
    return transaction.has("INSERT INTO app.orders")


def consumer(service: str) -> Callable[[Transaction], bool]:
    """A batch of this service: positions and inbox rows first, then effects."""

    def which(transaction: Transaction) -> bool:
        return (
            transaction.database == f"{service}db"
            and transaction.has("INSERT INTO messaging.inbox")
            and len(transaction.statements) > 1
        )

    return which


def position(service: str) -> Callable[[Transaction], bool]:
    """Nothing but a position, over what this service does not act on (protocol D2)."""

    def which(transaction: Transaction) -> bool:
        return (
            transaction.database == f"{service}db"
            and transaction.has("UPDATE messaging.consumer_source", "last_ids")
            and not transaction.has("start = ")  # where reading begins
            and len(transaction.statements) == 1
        )

    return which


def settlement(service: str) -> Callable[[Transaction], bool]:
    """Outcomes of outside calls, of this service."""

    def which(transaction: Transaction) -> bool:
        return transaction.database == f"{service}db" and transaction.has(
            "UPDATE messaging.deliveries", "settled_at"
        )

    return which


def cancelling(transaction: Transaction) -> bool:
    """An order that its customer cancels."""
    return transaction.has("UPDATE app.orders") and not transaction.has("messaging.inbox")


def lose_one(world: World, which: Callable[[Transaction], bool], *, before: bool) -> str:
    """Place an order, and see a COMMIT or its answer lost of what follows; the order's id."""
    cut = world.cut(which, before=before)
    order_id: str = world.place(str(new_id())).json()["id"]
    wait_for(lambda: cut.made, 20, "such a commit is cut off")
    return order_id


def lose(
    world: World, which: Callable[[Transaction], bool], wanted: int, *, before: bool = False
) -> None:
    """Place orders, each of which loses a COMMIT or its answer, and see all of them end."""
    placed = [lose_one(world, which, before=before) for _ in range(wanted)]
    for order_id in placed:
        assert world.customer.ended(order_id)["status"] == "CONFIRMED"


def test_i2_a_client_that_asks_again_gets_the_first_answer(world: World) -> None:
    """P5, protocol I2: 503 outcome_unknown, then the order that was placed, however often."""
    placed = list[str]()
    for _ in range(POOL_MAX + 1):
        cut, key = world.cut(intake), str(new_id())
        unknown = world.place(key)
        assert is_unknown(unknown)
        assert int(unknown.headers["Retry-After"]) >= 1
        assert len(cut.made) == 1
        first, second = world.place(key), world.place(key)
        assert {first.status_code, second.status_code} == {200}
        assert first.headers["Idempotent-Replayed"] == "true"
        assert first.content == second.content
        kept = rows(world.customer.data, "order", KEPT, key)
        assert [str(row["order_id"]) for row in kept] == [first.json()["id"]]
        assert kept[0]["response"] == first.content
        placed.append(first.json()["id"])
    for order_id in placed:
        assert world.customer.ended(order_id)["status"] == "CONFIRMED"
    world.assert_well()


KEPT = """
SELECT order_id, response FROM app.idempotency_keys WHERE key = $1
"""


def test_i3_all_of_a_flush_learn_that_its_outcome_is_unknown(world: World) -> None:
    """Protocol I2, I3: neighbours of one commit; each finds its own order under its own key."""
    for _ in range(20):  # until one of two flushes that are cut off had more than one order
        cut = world.cut(intake, 2)
        keys = [str(new_id()) for _ in range(12)]
        first = dict(zip(keys, world.place_together(keys), strict=True))
        unknown = {key for key, answer in first.items() if is_unknown(answer)}
        if len(unknown) > len(cut.made):
            break
    assert len(unknown) > len(cut.made) > 0
    settled = {key: world.settle(key) for key in keys}
    for key, answer in settled.items():
        before = first[key]
        # Who is refused at the door (the flush takes too long) has placed nothing yet.
        was_placed = key in unknown or before.status_code == 201
        assert answer.status_code == (200 if was_placed else 201)
        assert before.status_code == 503 or before.content == answer.content
    assert len({answer.json()["id"] for answer in settled.values()}) == len(keys)
    world.assert_well()


def test_p1_a_client_whose_order_never_reached_the_database_asks_again(world: World) -> None:
    """P1, protocol I2: nobody can know that, so it is 503 outcome_unknown; then it is placed."""
    cut, key = world.cut(intake, before=True), str(new_id())
    unknown = world.place(key)
    assert is_unknown(unknown)
    assert len(cut.made) == 1
    assert not rows(world.customer.data, "order", KEPT, key)
    placed = world.place(key)
    assert placed.status_code == 201
    assert world.customer.ended(placed.json()["id"])["status"] == "CONFIRMED"
    world.assert_well()


@pytest.mark.parametrize("before", [False, True], ids=["answer", "request"])
@pytest.mark.parametrize("service", SERVICES)
def test_p3_a_consumer_s_batch_is_not_applied_again(
    world: World, service: str, *, before: bool
) -> None:
    """P3: the inbox and the position say whether it happened; every order ends once."""
    lose(world, consumer(service), POOL_MAX, before=before)
    world.assert_well()


def test_d2_a_position_alone_is_stored_or_stored_again(world: World) -> None:
    """Protocol D2: over what a service skips; nothing stands still after it."""
    lose(world, position("payment"), 2)
    world.assert_well()


@pytest.mark.parametrize("before", [False, True], ids=["answer", "request"])
@pytest.mark.parametrize("service", ["payment", "notification"])
def test_m6_the_outcome_of_a_call_is_recorded_once(
    world: World, service: str, *, before: bool
) -> None:
    """Protocol M6: it is stored again until that is known, and applied once."""
    lose(world, settlement(service), POOL_MAX, before=before)
    world.assert_well()


ONCE = (
    "SELECT count(*) FROM app.order_timeline WHERE order_id = $1 AND event = 'CancelRequested'",
    "SELECT count(*) FROM messaging.outbox WHERE aggregateid = $1 AND type = 'OrderCancelled'",
)


def test_p8_a_cancel_that_is_repeated_finds_its_own(world: World) -> None:
    """P8: 503 outcome_unknown, then 200: the wish was kept, once."""
    url = f"{world.customer.url(1)}/api/orders"
    for _ in range(50):  # until one is not confirmed before its cancel comes
        cut = world.cut(cancelling)
        order_id = world.place(str(new_id())).json()["id"]
        answer = world.customer.client.post(f"{url}/{order_id}/cancel")
        if answer.status_code == 503:
            break
    assert answer.json()["code"] == "outcome_unknown"
    assert len(cut.made) == 1
    assert world.customer.client.post(f"{url}/{order_id}/cancel").status_code == 200
    assert world.customer.ended(order_id)["status"] == "CANCELLED"
    for once in ONCE:
        assert value(world.customer.data, "order", once, order_id) == 1
    world.assert_well()
