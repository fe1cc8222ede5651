"""Nobody is erased while something of theirs would need what is erased; it is said what to do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.commerce.test_orders_intake import place, request

from waybill.blueprints import choreography
from waybill.commerce.orders.intake import OrderFlush
from waybill.commerce.orders.request import Placed
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.operations.customers.erase import erased
from waybill.operations.customers.identity import Customer, found
from waybill.operations.customers.sweep import Personal
from waybill.operations.customers.under_way import (
    refuse_sent_by_a_connector,
    refuse_under_way,
)

if TYPE_CHECKING:
    from tests.commerce.support import CountedDatabase, Service

ENDED = "UPDATE app.orders SET settled_at = now()"
READER = """
INSERT INTO messaging.outbox_reader (consumer, topics, start, positions)
VALUES ('slow', '{order-events}', array_fill(0, '{17}'), array_fill(0, '{17}'))
"""
DELIVERY = """
INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id)
VALUES ($1, 'email', $2, '{}', 'PARKED', 'c')
"""


@pytest.fixture
def opened(order: Service, notification: Service) -> dict[str, CountedDatabase]:
    """Two services' own."""
    return {"order": order.database, "notification": notification.database}


@pytest.fixture
async def customer(order: Service, opened: dict[str, CountedDatabase]) -> Customer:
    """Somebody with one order, and somebody else has one too."""
    flush = OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
    )
    whose = new_id()
    placed = await place(flush, request("k-1", customer_id=whose), request("k-2"))
    assert all(isinstance(each, Placed) for each in placed)
    customer = await found(str(whose), opened)
    assert len(customer.orders) == 1
    return customer


async def test_what_is_under_way_is_named(
    order: Service,
    notification: Service,
    opened: dict[str, CountedDatabase],
    customer: Customer,
) -> None:
    """An order, an event that somebody has yet to read, a call that waits; then nothing."""
    order_id = str(customer.orders[0])

    async def refused(words: str) -> None:
        with pytest.raises(ConfigurationError, match=f"nothing is erased: {words}") as told:
            await refuse_under_way(opened, customer, "")
        assert order_id in str(told.value)

    await refused("orders are under way .*: cancel them, or wait")
    await order.rows(ENDED)
    await order.rows(READER)
    await refused("events of order, .*: start the platform")
    await order.rows("DELETE FROM messaging.outbox_reader")
    await notification.rows(DELIVERY, new_id(), f"{order_id}:OrderConfirmed")
    await refused("calls of notification .*email .*: wait, or judge them: waybill deliveries")
    await notification.rows("UPDATE messaging.deliveries SET state = 'DELIVERED'")
    await refuse_under_way(opened, customer, "")


async def test_events_that_a_connector_sends_are_waited_for(
    order: Service, opened: dict[str, CountedDatabase], customer: Customer
) -> None:
    """A changed row would end it; where nothing would change, nobody waits."""
    personal = Personal(frozenset(), frozenset({"customerId"}))
    given = (opened, customer, personal, choreography.CHOREOGRAPHY)
    await refuse_sent_by_a_connector(*given)
    await order.rows("UPDATE messaging.outbox_meta SET mode = 'cdc'")
    with pytest.raises(ConfigurationError, match="1 events of order, sent by a connector"):
        await refuse_sent_by_a_connector(*given)
    nothing = Personal(frozenset(), frozenset())
    await refuse_sent_by_a_connector(opened, customer, nothing, choreography.CHOREOGRAPHY)


async def test_only_the_customers_own_rows_change(
    order: Service, opened: dict[str, CountedDatabase], customer: Customer
) -> None:
    """In an event the member's value goes, every other byte stays; the other event is as it was."""
    events = "SELECT aggregateid, convert_from(payload, 'UTF8') FROM messaging.outbox ORDER BY seq"
    before = dict(await order.rows(events))
    personal = Personal(frozenset(), frozenset({"customerId"}))
    counts = await erased(opened, customer, personal, choreography.CHOREOGRAPHY)
    assert counts == {"order app.orders": 1, "order messaging.outbox": 1}, "row and event"
    after = dict(await order.rows(events))
    theirs = str(customer.orders[0])
    changed = re.sub(r'("customerId"\s*:\s*)"[^"]*"', r'\1"erased"', before[theirs])
    assert after == before | {theirs: changed}
    assert await erased(opened, customer, personal, choreography.CHOREOGRAPHY) == {}
