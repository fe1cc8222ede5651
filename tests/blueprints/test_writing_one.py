"""A sixth blueprint is written as docs/blueprints/writing-one.md says: proven, run and audited."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest
from examples.screened_orders import LIMIT, PLAN, PROCESS, SCREENED, OrderCleared, prove
from tests.blueprints.mermaid import problems_of
from tests.blueprints.samples import record, sample
from tests.state_machine.gates import Fate, Grant
from tests.state_machine.machine import OrdersMachine
from tests.state_machine.scripts import ONE
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop
from tests.state_machine.walking import SHORTER, walk

from waybill.blueprints import asyncapi, diagrams
from waybill.blueprints.catalogue import EVERY
from waybill.blueprints.definition import Service
from waybill.commerce.checker import Limits
from waybill.commerce.contracts import OrderCancelled, OrderConfirmed
from waybill.commerce.notifications.domain import Notification, notification_of
from waybill.platform import services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServiceDatabases

    from waybill.blueprints.definition import Blueprint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/blueprints/writing-one.md").read_text()
CODE = (ROOT / "examples/screened_orders.py").read_text()
FAULTS = (
    Limits(duplicates=1, dead_letters=1),
    Limits(dead_letters=1, losses=1),
    Limits(early=1),
    Limits(unknowns=1),
)
"""Less at once than FAULTS of the checker: a third participant multiplies the states."""
MANY = [([(UUID(int=0xB), 4)], True)]
"""One order that costs more than the screening lets pass."""


def test_the_page_shows_the_example() -> None:
    """Every snippet is a part of the code that is tested here."""
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) > 6
    assert [snippet for snippet in snippets if snippet.strip("\n") not in CODE] == []


@pytest.mark.parametrize("limit", [LIMIT, Decimal(1)], ids=["cleared", "suspected"])
def test_the_checker_finds_nothing(limit: Decimal) -> None:
    """Whatever comes in whatever order: it ends, and money and stock balance."""
    walk = prove(limit, FAULTS)
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.states > 10_000
    assert walk.endings > 100


def test_it_is_described_like_the_others() -> None:
    """Diagrams, documents and records follow from the value alone."""
    for draw in (diagrams.flow, diagrams.sequence, diagrams.states):
        assert problems_of(draw(SCREENED)) == []
    assert "screening-service.receives.shop.money" in asyncapi.document(SCREENED)["operations"]
    for event in SCREENED.events:
        read = SCREENED.codec().decode(record(SCREENED, sample(event)))
        assert isinstance(read, event)


def told(event: object) -> Notification | None:
    """As everywhere, and of an event of its own."""
    if not isinstance(event, OrderCleared):
        return notification_of(event)
    text = f"Order {event.order_id} may go out"
    return Notification(event.order_id, "OrderCleared", text, text)


TELLING = replace(
    SCREENED,
    tell=told,
    services={
        **SCREENED.services,
        "notification-service": Service(
            "notification-service",
            (),
            {"shop.orders": (OrderConfirmed, OrderCancelled), "shop.screening": (OrderCleared,)},
        ),
    },
)


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    service_databases: ServiceDatabases,
    messaging_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Simulation]:
    """Its services in one process, each on a database of its own."""
    blueprint = getattr(request, "param", SCREENED)
    monkeypatch.setitem(services.PLANS, "screening", PLAN)
    service_databases["screening"] = messaging_database
    simulation = Simulation(VirtualLoop(), service_databases, monkeypatch, blueprint)
    simulation.run(simulation.open())
    OrdersMachine.world = simulation
    yield simulation
    simulation.run(simulation.close())
    simulation.loop.close()


@pytest.mark.parametrize(
    ("wanted", "fates", "end", "way"),
    [
        (ONE, [Fate.ANSWERED] * 12, "ACCEPTED", {"HELD", "PAID", "ACCEPTED"}),
        (MANY, [Fate.ANSWERED] * 12, "REFUSED", {"REFUSED"}),
    ],
    ids=["cleared", "suspected"],
)
def test_an_order_goes_its_way(
    world: Simulation, wanted: list[Any], fates: list[Fate], end: str, way: set[str]
) -> None:
    """Through three steps to the end; refused by the last, the first two are undone. Audited."""
    machine = OrdersMachine()
    machine.begin(wanted=wanted)
    machine.flow(order=0, fates=list(fates))
    for service in world.plans:
        machine.deliver(batches=[(service, Grant(repeats=5), None)])
    machine.teardown()
    rows = world.run(world.databases.fetch("order", "SELECT status FROM app.orders"))
    assert [row["status"] for row in rows] == [end]
    timeline = "SELECT to_status FROM app.order_timeline WHERE to_status IS NOT NULL"
    passed = {row["to_status"] for row in world.run(world.databases.fetch("order", timeline))}
    assert way <= passed <= {*PROCESS.lifecycle}


@pytest.mark.parametrize("world", [TELLING], indirect=True, ids=["telling"])
def test_what_it_tells_of_its_own_is_shown(world: Simulation) -> None:
    """GET /api/notifications has whatever the customer was told, be it of an event of its own."""
    machine = OrdersMachine()
    machine.begin(wanted=ONE)
    machine.flow(order=0, fates=[Fate.ANSWERED] * 12)
    (wish,) = machine.wishes

    async def shown() -> Any:  # noqa: ANN401 - JSON
        transport = httpx2.ASGITransport(app=world.lives["notification"].application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://it") as client:
            return (await client.get(f"/api/notifications?orderId={wish.order_id}")).json()

    items = world.run(shown())["items"]
    assert {each["eventType"] for each in items} == {"OrderCleared", "OrderConfirmed"}
    world.run(world.end())  # the audit wants one an order


@pytest.mark.parametrize("blueprint", [*EVERY.values(), SCREENED, TELLING], ids=lambda b: b.name)
def test_a_notification_is_called_as_its_event(blueprint: Blueprint) -> None:
    """By which it is found again: by what the service acts on, and no other name."""
    for event in blueprint.service("notification").events:
        notification = blueprint.tell(sample(event))
        assert notification is not None
        assert notification.kind == event.__name__


@pytest.mark.usefixtures("world")
def test_its_books_add_up_after_every_step(request: pytest.FixtureRequest) -> None:
    """P1-P9 under any sequence of rules, as for the blueprints of the catalogue."""
    walk(request, SHORTER)
