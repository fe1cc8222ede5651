"""Rules that look into the orchestrator's database are broken there by SQL, and name the saga."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.operations.audit.filled import audited, execute
from tests.races.explorer import come_to_rest
from tests.races.scene import IN_STOCK, STOCK
from tests.state_machine.customers import uuid_of
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop

from waybill.blueprints.orchestration import ORCHESTRATION

if TYPE_CHECKING:
    from tests.conftest import ServiceDatabases

PLANTS = {
    "owes an undo": "UPDATE app.sagas SET settled_at = NULL WHERE order_id = '{}'",
    "another end": "UPDATE app.sagas SET status = 'FAILED' WHERE order_id = '{}'",
    "no saga": "DELETE FROM app.sagas WHERE order_id = '{}'",
    "told nobody": "UPDATE messaging.outbox SET type = 'OrderPaid' "
    "WHERE type = 'OrderCompleted' AND aggregateid = '{}'",
    "its version": "UPDATE app.sagas SET version = version + 1 WHERE order_id = '{}'",
}
"""Each is about an order of its own."""
NAMED = {
    "I03": {"owes an undo", "another end", "no saga"},
    "I18": {"no saga", "told nobody", "its version"},
}
"""By whose rule. What was told of a saga that is not there was told of no order."""


@pytest.fixture
def confirmed(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, str], dict[str, str]]:
    """Databases of the blueprint at rest, with a confirmed order for each plant."""
    loop = VirtualLoop()
    world = Simulation(loop, service_databases, monkeypatch, ORCHESTRATION)

    async def place(what: str) -> str:
        world.ids.upcoming(charged=True)
        placed = await world.request(
            *("POST", world.customers.place_path),
            json=world.customers.body([(IN_STOCK, 1)]),
            headers={"Idempotency-Key": what},
        )
        assert placed is not None
        order_id = uuid_of(world.customers.order_id(placed))
        await come_to_rest(world, order_id)
        return order_id

    world.run(world.open())
    world.run(world.begin(world.customers.stock(STOCK)))
    orders = {what: world.run(place(what)) for what in PLANTS}
    world.run(world.auditor.assert_at_rest())
    world.run(world.end())
    world.run(world.close())
    loop.close()
    return world.urls, orders


def test_lies_about_sagas_are_named(
    confirmed: tuple[dict[str, str], dict[str, str]],
) -> None:
    """I03 and I18 for the orchestrator: each lie by its order, and nothing that is true."""
    urls, orders = confirmed
    lies = [statement.format(orders[what]) for what, statement in PLANTS.items()]
    asyncio.run(execute(urls["orchestrator"], lies))
    report = audited(urls, blueprint=ORCHESTRATION)
    found = {rule.id: rule for rule in report.violated}
    for rule, plants in NAMED.items():
        told = {str(each.row.get("order_id")) for each in found[rule].rows}
        assert told == {orders[what] for what in plants}
