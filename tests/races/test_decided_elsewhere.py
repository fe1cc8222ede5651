"""A customer's cancel against an end that another party brings about, at every point of either.

`orchestration`: the wish against the orchestrator's word (protocol M8). `checkout`: the cancel
against the payment that is settled in the order's own transaction (protocol M9).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.races.explorer import Consume, Post, Race, come_to_rest, follow_flushes
from tests.races.scene import IN_STOCK, STOCK, come_to_rest_of_consumers, lives_of
from tests.state_machine.customers import uuid_of
from tests.state_machine.gates import ACT, Fate, Grant
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop

from waybill.blueprints.checkout import CHECKOUT
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.commerce.orders.paying import PAYMENT
from waybill.messaging.runtime.settlement import Settler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import ServiceDatabases
    from tests.races.explorer import Racer
    from tests.state_machine.life import Life

    from waybill.blueprints.definition import Blueprint

    World = Callable[[Blueprint], Simulation]

POINTS_MIN = 5
"""An act that passes fewer has lost its points: then nothing was explored."""
STATUS = "SELECT status FROM app.orders WHERE id = $1::uuid"
COMPLETED = """
SELECT count(*)::int FROM messaging.outbox WHERE aggregateid = $1 AND type = 'OrderCompleted'
"""
DECIDING = ("orchestrator", "payment", "inventory")
ROUNDS_MAX = 40


@pytest.fixture
def new_world(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A platform on databases of its own, with a second process of the order service."""
    made: list[Simulation] = []

    def make(blueprint: Blueprint) -> Simulation:
        world = Simulation(VirtualLoop(), service_databases, monkeypatch, blueprint)
        made.append(world)
        follow_flushes(monkeypatch)
        world.run(world.open())
        world.run(world.begin(STOCK, at_once=True))
        world.run(world.twin("order"))
        return world

    yield make
    for world in made:
        world.run(world.end())
        world.run(world.close())
        world.loop.close()


def request_of(world: Simulation, key: str) -> dict[str, Any]:
    """A new order whose payment is good."""
    world.ids.upcoming(charged=True)
    body = world.customers.body([(IN_STOCK, 1)])
    return {"json": body, "headers": {"Idempotency-Key": key}}


async def status_of(world: Simulation, order_id: str) -> str:
    """The order's, in the end."""
    await come_to_rest(world, order_id)
    ((status,),) = await world.databases.fetch("order", STATUS, order_id)
    return str(status)


async def completed(world: Simulation, key: str) -> tuple[str, str]:
    """An order that the orchestrator has completed, of which the order service has not heard."""
    path = world.customers.place_path
    placed = await world.request("POST", path, **request_of(world, key))
    assert placed is not None
    shown = world.customers.order_id(placed)
    for _ in range(ROUNDS_MAX):
        for service in DECIDING:
            if world.lives[service].gate.waits:
                await world.deliver(service, Grant())
            while world.lives[service].calls.waiting:
                await world.answer(service, 0, Fate.ANSWERED)
        told = await world.databases.fetch("orchestrator", COMPLETED, uuid_of(shown))
        if told[0][0]:
            return shown, uuid_of(shown)
        await world.advance(0.1)
    raise AssertionError(f"the orchestrator does not complete {shown}")


@pytest.mark.long
@pytest.mark.parametrize("first", ["wish", "completion"])
def test_a_wish_against_the_completion(
    new_world: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """M8: the orchestrator's word stands, and whoever was told "too late" was told the truth."""
    world = new_world(ORCHESTRATION)
    race = Race(world, monkeypatch)

    async def explored(stand_at: int) -> bool:
        shown, order_id = await completed(world, f"{first}-{stand_at}")
        wish = Post(str(world.customers.cancel_path(shown)))
        racers: tuple[Racer, Racer] = (wish, Consume(Grant()))
        if first != "wish":
            racers = racers[::-1]
        stood = await race.run(*racers, stand_at, await lives_of(world))
        assert await status_of(world, order_id) == "CONFIRMED"
        told = await world.databases.fetch("orchestrator", COMPLETED, order_id)
        assert told[0][0] == 1
        if wish.request is not None:
            answer = wish.request.result()
            assert answer.status_code in {202, 409}, answer.text
            assert answer.status_code == 409 or answer.json()["status"] != "CONFIRMED"
        return stood

    assert explore(world, explored) >= POINTS_MIN
    assert race.waited


class Settle:
    """The order service settles a payment whose outcome it knows: it waits at its transaction."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._go, self._known, self._done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._act = ""
        write = Settler._write

        async def held(settler: Settler, batch: Any) -> None:  # noqa: ANN401 - passed on
            if settler._kind != PAYMENT:
                await write(settler, batch)
                return
            self._known.set()
            await self._go.wait()
            ACT.set(self._act)
            await write(settler, batch)
            self._done.set()

        patch.setattr(Settler, "_write", held)

    @property
    def is_known(self) -> bool:
        """Whether the payment's outcome is there."""
        return self._known.is_set()

    async def start(self, race: Race, act: str, life: Life) -> None:
        """See Racer. It happens in the process that placed the order."""
        del life
        self._act = act
        self._go.set()
        await race.calm()

    @property
    def is_over(self) -> bool:
        """It is committed."""
        return self._done.is_set()


@pytest.mark.long
@pytest.mark.parametrize("first", ["cancel", "settle"])
def test_a_cancel_against_the_payment(
    new_world: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """M9, P8: one of them wins; the money follows, and both customers' answers are true."""
    world = new_world(CHECKOUT)
    race = Race(world, monkeypatch)

    async def explored(stand_at: int) -> bool:
        with monkeypatch.context() as patch:
            settle = Settle(patch)
            here, there = world.lives["order"], world.lives["order*"]
            asked = request_of(world, f"{first}-{stand_at}")
            assert here.client is not None
            posted = here.process.spawn(here.client.post(world.customers.place_path, **asked))
            order_id = await paid(world, settle)
            cancel = Post(str(world.customers.cancel_path(order_id)))
            racers, lives = (settle, cancel), (here, there)
            stood = (
                await race.run(*racers, stand_at, lives)
                if first == "settle"
                else await race.run(*racers[::-1], stand_at, lives[::-1])
            )
            settle._go.set()
            status = await status_of(world, order_id)
        check_told(status, (await posted), cancel)
        return stood

    assert explore(world, explored) >= POINTS_MIN
    assert race.waited


def check_told(status: str, placed: Any, cancel: Post) -> None:  # noqa: ANN401 - an answer
    """P8: the loser was told so."""
    assert status in {"CONFIRMED", "CANCELLED"}
    if status == "CONFIRMED":
        assert (placed.status_code, placed.json()["status"]) == (201, "CONFIRMED")
    else:
        assert (placed.status_code, placed.json()["code"]) == (409, "order_cancelled")
    if cancel.request is not None:
        answer = cancel.request.result()
        won = answer.status_code == 200
        assert won == (status == "CANCELLED")
        assert won or answer.json()["code"] == "order_not_cancellable"


async def paid(world: Simulation, settle: Settle) -> str:
    """Until the payment of the order that was just sent is known; the order's id."""
    for _ in range(ROUNDS_MAX):
        await world.settle()
        if settle.is_known:
            ((order_id,),) = await world.databases.fetch(
                "order", "SELECT id::text FROM app.orders ORDER BY created_at DESC, id LIMIT 1"
            )
            return str(order_id)
        for service in ("order", "payment"):
            if world.lives[service].calls.waiting:
                await world.answer(service, 0, Fate.ANSWERED)
    raise AssertionError("the order is not paid")


def explore(world: Simulation, explored: Callable[[int], Any]) -> int:
    """Stand at every point there is; how many."""
    points = 0
    while world.run(explored(points)):
        points += 1
        world.run(come_to_rest_of_consumers(world))
    world.run(world.auditor.assert_at_rest())
    return points
