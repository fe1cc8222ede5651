"""Cancel, confirm, refuse, deadline, redrive and duplicate, each while another stands anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.races.explorer import Cancel, Consume, Deadline, Race, come_to_rest
from tests.state_machine.gates import Fate, Grant
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.orders.deadlines import Deadlines
from waybill.messaging.adapters.postgres.verdicts import (
    judge_parked_deliveries,
    redrive_dead_letters,
)
from waybill.messaging.core.outcome import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServiceDatabases
    from tests.races.explorer import Racer
    from tests.state_machine.life import Life

SERVICES = ("order", "payment", "inventory", "notification", "provider")
PRODUCT = UUID(int=0xA)
KINDS = ("cancel", "confirm", "refuse", "deadline", "redrive", "duplicate")
POINTS_MIN = 5
"""An act that passes fewer has lost its points: then nothing was explored."""
LEASE = """
SELECT DISTINCT lease_token FROM messaging.consumer_source WHERE consumer = 'order-service'
"""
DAYS_30 = 30 * 86_400.0
ENDINGS = """
SELECT type FROM messaging.outbox
WHERE aggregateid = $1 AND type IN ('OrderConfirmed', 'OrderCancelled')
"""
STATUS = "SELECT status FROM app.orders WHERE id = $1::uuid"
DUE = "UPDATE app.orders SET ask_at = '2000-01-01' WHERE id = $1::uuid"
NO_JOB = "UPDATE messaging.schedule SET due_at = 'infinity' WHERE name = 'order deadlines'"
PARK = """
UPDATE messaging.deliveries SET state = 'PARKED', lease_token = NULL, lease_until = NULL
WHERE key = $1 AND kind = 'charge' RETURNING id
"""


@pytest.fixture
def world(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """The platform on databases of its own, with a second process of the order service."""
    loop = VirtualLoop()
    urls = {service: service_databases[service] for service in SERVICES}
    simulation = Simulation(loop, urls, monkeypatch)
    simulation.run(simulation.open())
    simulation.run(simulation.begin({PRODUCT: 1_000_000}, at_once=True))
    simulation.run(simulation.twin("order"))
    simulation.run(simulation.databases.fetch("order", NO_JOB))
    yield simulation
    simulation.run(simulation.end())
    simulation.run(simulation.close())
    loop.close()


class Scene:
    """One order, brought to where two acts are possible."""

    def __init__(self, world: Simulation, kinds: tuple[str, str]) -> None:
        self._world = world
        self._kinds = kinds
        self._refused_first = kinds == ("confirm", "refuse")
        self.order_id = ""
        self._stock_fact: Any = None
        self._last: tuple[Any, ...] = ()
        self.cancels: list[Cancel] = []

    async def prepare(self, key: str) -> None:
        """Stock is reserved, the provider has answered; what the acts are about is still open."""
        world, kinds = self._world, self._kinds
        declines = "refuse" in kinds and "confirm" not in kinds
        world.ids.upcoming(charged=not declines)
        item = {"productId": str(PRODUCT), "quantity": 1, "unitPrice": 9.99}
        body = {"customerId": str(UUID(int=0xC)), "items": [item]}
        placed = await world.request(
            "POST", "/api/orders", json=body, headers={"Idempotency-Key": key}
        )
        assert placed is not None
        assert placed.status_code == 201
        self.order_id = placed.json()["id"]
        await world.deliver("inventory", Grant())
        if "redrive" in kinds:
            await self._dead_letter()
        else:
            await self._deliver_to_order()
        self._stock_fact = self._last[-1]
        await world.deliver("payment", Grant())
        if {*kinds} == {"confirm", "refuse"}:
            await self._refused_and_then_captured()
        else:
            await world.answer("payment", 0, Fate.ANSWERED)
        if self._refused_first:
            await self._dead_letter(records=1)
        if "deadline" in kinds:
            await world.databases.fetch("order", DUE, self.order_id)

    def racer(self, kind: str) -> Racer:
        """An act of this kind on the order."""
        if kind == "cancel":
            self.cancels.append(Cancel(self.order_id))
            return self.cancels[-1]
        if kind == "deadline":
            return Deadline(_ask)
        if kind == "redrive" or (kind == "refuse" and self._refused_first):
            return Consume(Grant(records=0), redrives=True)
        if kind == "duplicate":
            return Consume(Grant(records=0, again=(self._stock_fact,)))
        refuses_first = kind == "refuse" and {*self._kinds} == {"confirm", "refuse"}
        return Consume(Grant(records=1) if refuses_first else Grant())

    async def lives(self) -> tuple[Life, Life]:
        """The process that holds the consumer's lease, and the other one."""
        world = self._world
        await come_to_rest_of_consumers(world)
        pair = (world.lives["order"], world.lives["order*"])
        ((held,),) = await world.databases.fetch("order", LEASE)
        return pair if token_of(pair[0]) == held else pair[::-1]

    async def _deliver_to_order(self, records: int = 500) -> None:
        world = self._world
        holder, _ = await self.lives()
        name = next(name for name, life in world.lives.items() if life is holder)
        assert await world.deliver(name, Grant(records))
        self._last = holder.gate.last

    async def _dead_letter(self, records: int = 500) -> None:
        """The order service cannot apply the fact; then it can, and an operator says so."""
        world = self._world
        world.poison_next.add("order")
        await self._deliver_to_order(records)
        ((_, message_id),) = world.poison
        world.poison.clear()
        await redrive_dead_letters(
            world.pool("order"),
            "order-service",
            [message_id],
            who="test",
            why="fixed",
            inbox_retention_seconds=DAYS_30,
        )

    async def _refused_and_then_captured(self) -> None:
        """An operator says no to a charge whose outcome is unknown, then it was captured (M6)."""
        world = self._world
        ((delivery_id,),) = await world.databases.fetch("payment", PARK, self.order_id)
        refused = Refused("payment_refused", "by an operator")
        await judge_parked_deliveries(
            world.pool("payment"), [delivery_id], refused, who="test", why="no answer"
        )
        await world.twin("payment")
        await world.settle()
        await world.kill("payment*")
        del world.lives["payment*"]
        await world.answer("payment", 0, Fate.ANSWERED)


def token_of(life: Life) -> UUID | None:
    """The lease token that this process believes to hold."""
    subscription: Any = life.gate.subscription
    return None if subscription is None else subscription._keeper.token


async def come_to_rest_of_consumers(world: Simulation) -> None:
    """Until one of the two processes holds the lease."""
    for _ in range(20):
        ((held,),) = await world.databases.fetch("order", LEASE)
        for name in ("order", "order*"):
            life = world.lives[name]
            if held is not None and token_of(life) == held and life.gate.waits:
                return
        await world.advance(1.0)
    raise AssertionError("nobody takes the lease of the order service's consumer")


async def _ask(life: Life) -> int:
    assert life.messaging is not None
    return await Deadlines(life.messaging.ports, process=PROCESS).ask()


async def check(world: Simulation, scene: Scene, kinds: tuple[str, str]) -> None:
    """Exactly one ending, and everybody was told the truth about it."""
    await come_to_rest(world, scene.order_id)
    ((status,),) = await world.databases.fetch("order", STATUS, scene.order_id)
    endings = [row[0] for row in await world.databases.fetch("order", ENDINGS, scene.order_id)]
    assert endings == [f"Order{status.title()}"]
    for cancel in scene.cancels:
        if cancel.request is None:
            continue
        answer = cancel.request.result()
        if answer.status_code == 409:
            assert answer.json()["code"] == "order_not_cancellable"
            assert status == "CONFIRMED"
        else:
            assert answer.status_code == 200
            assert status == "CANCELLED"
    if "cancel" not in kinds and "refuse" not in kinds:
        assert status == "CONFIRMED"
    if "refuse" in kinds and "confirm" not in kinds:
        assert status == "CANCELLED"


@pytest.mark.parametrize("first", KINDS)
def test_of_two_acts_exactly_one_wins_wherever_the_first_one_stands(
    world: Simulation, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """P8: run B while A stands at P, for every B and every P; money and stock follow the winner."""
    race = Race(world, monkeypatch)

    async def explored(kinds: tuple[str, str], stand_at: int) -> bool:
        scene = Scene(world, kinds)
        await scene.prepare(f"{kinds}-{stand_at}")
        lives = await scene.lives()
        stood = await race.run(scene.racer(kinds[0]), scene.racer(kinds[1]), stand_at, lives)
        await check(world, scene, kinds)
        return stood

    for second in KINDS:
        points = 0
        while world.run(explored((first, second), points)):
            points += 1
        assert points >= POINTS_MIN
        world.run(world.auditor.assert_at_rest())
    assert race.waited
