"""One order, brought by its services to where two acts on it are possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.races.explorer import Consume, Deadline, Post
from tests.state_machine.gates import Fate, Grant

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.orders.deadlines import Deadlines
from waybill.messaging.adapters.postgres.verdicts import (
    judge_parked_deliveries,
    redrive_dead_letters,
)
from waybill.messaging.core.outcome import Refused

if TYPE_CHECKING:
    import httpx2
    from tests.races.explorer import Racer
    from tests.state_machine.life import Life
    from tests.state_machine.simulation import Simulation

IN_STOCK, SOLD_OUT = UUID(int=0xA), UUID(int=0xB)
STOCK = {IN_STOCK: 1_000_000, SOLD_OUT: 0}
LEASE = """
SELECT DISTINCT lease_token FROM messaging.consumer_source WHERE consumer = 'order-service'
"""
DAYS_30 = 30 * 86_400.0
DUE = "UPDATE app.orders SET ask_at = '2000-01-01' WHERE id = $1::uuid"
PARK = """
UPDATE messaging.deliveries SET state = 'PARKED', lease_token = NULL, lease_until = NULL
WHERE key = $1 AND kind = 'charge' RETURNING id
"""


class Scene:
    """One order. `placed`: its customer's answer before the acts; `sent`, `cancels`: by them."""

    def __init__(self, world: Simulation, kinds: tuple[str, str], key: str) -> None:
        self._world = world
        self._kinds = kinds
        self._refused_first = kinds == ("confirm", "refuse")
        self._stock_fact: Any = None
        self._last: tuple[Any, ...] = ()
        product = SOLD_OUT if "out of stock" in kinds else IN_STOCK
        item = {"productId": str(product), "quantity": 1, "unitPrice": 9.99}
        self._request: dict[str, Any] = {
            "json": {"customerId": str(UUID(int=0xC)), "items": [item]},
            "headers": {"Idempotency-Key": key},
        }
        self.order_id = ""
        self.placed: httpx2.Response | None = None
        self.cancels: list[Post] = []
        self.sent: list[Post] = []

    async def prepare(self) -> None:
        """What the acts are about is still open; two orders of one key: nothing was placed yet."""
        world, kinds = self._world, self._kinds
        declines = "refuse" in kinds and "confirm" not in kinds
        world.ids.upcoming(charged=not declines)
        if {*kinds} == {"post"}:
            return
        self.placed = await world.request("POST", "/api/orders", **self._request)
        assert self.placed is not None
        assert self.placed.status_code == 201
        self.order_id = self.placed.json()["id"]
        await world.deliver("inventory", Grant())
        if "out of stock" in kinds:
            await self._stock_is_out()
        else:
            await self._stock_is_reserved()
        if "deadline" in kinds:
            await world.databases.fetch("order", DUE, self.order_id)

    async def _stock_is_out(self) -> None:
        """The refusal waits for the order service; a second one if the first is another act's."""
        if "redrive" in self._kinds:
            await self._dead_letter()
        if {"redrive", "duplicate"} & {*self._kinds}:
            await self._asked_again()
        if "duplicate" in self._kinds:
            await self._deliver_to_order(records=1)
            self._stock_fact = self._last[-1]

    async def _stock_is_reserved(self) -> None:
        """The provider has answered, too."""
        world, kinds = self._world, self._kinds
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

    def racer(self, kind: str) -> Racer:
        """An act of this kind on the order."""
        if kind == "cancel":
            self.cancels.append(Post(f"/api/orders/{self.order_id}/cancel"))
            return self.cancels[-1]
        if kind == "post":
            self.sent.append(Post("/api/orders", **self._request))
            return self.sent[-1]
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
        return await lives_of(self._world)

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

    async def _asked_again(self) -> None:
        """The deadline asks before the answer was heard; inventory repeats it (M3)."""
        world = self._world
        await world.databases.fetch("order", DUE, self.order_id)
        holder, _ = await self.lives()
        assert await _ask(holder)
        await world.settle()
        assert await world.deliver("inventory", Grant())

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


async def lives_of(world: Simulation) -> tuple[Life, Life]:
    """The process that holds the lease of the order service's consumer, and the other one."""
    await come_to_rest_of_consumers(world)
    pair = (world.lives["order"], world.lives["order*"])
    ((held,),) = await world.databases.fetch("order", LEASE)
    return pair if token_of(pair[0]) == held else pair[::-1]


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
