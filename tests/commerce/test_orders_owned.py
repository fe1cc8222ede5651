"""Whose order it is, asked of the database: reads, timeline, cancel, and keys of before tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.commerce.test_orders_intake import request

from waybill.blueprints import choreography
from waybill.commerce.orders.cancellation import Cancellation
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.reads import OrderPages
from waybill.commerce.orders.request import Placed
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.commerce.support import Service

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _flush(order: Service) -> OrderFlush:
    return OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
        store=order.stores.orders,
    )


async def test_an_order_is_shown_and_cancelled_for_its_owner_only(order: Service) -> None:
    """API1: for anybody else there is no such order, and nothing of it is touched."""
    flush, owner, other = _flush(order), new_id(), new_id()
    entry = flush.entry(request("k-1", customer_id=owner))
    await flush.flush([entry])
    pages = OrderPages(order.database, choreography.PROCESS, store=order.stores.orders)
    handler = OrderHandler(choreography.PROCESS, order.tally, store=order.stores.orders)
    cancellation = Cancellation(order.ports, handler)
    assert await pages.order(entry.order_id, owner=other) is None
    assert await pages.timeline(entry.order_id, owner=other) is None
    assert await cancellation.cancel(entry.order_id, traceparent=TRACE, owner=other) is None
    for whose in (owner, None):
        shown = await pages.order(entry.order_id, owner=whose)
        assert shown is not None
        timeline = await pages.timeline(entry.order_id, owner=whose)
        assert timeline is not None
        assert [each.event for each in timeline] == ["OrderCreated"], "nobody cancelled"
    assert await cancellation.cancel(entry.order_id, traceparent=TRACE, owner=owner) is not None


async def test_a_key_of_before_tokens_answers_the_same_request_and_no_other(
    order: Service,
) -> None:
    """Turning tokens on places no second order for an old retry."""
    flush = _flush(order)
    intake = OrderIntake(flush, order.ports)
    old, named = request("k-1"), request("k-2", scope="somebody")
    [placed, _] = await flush.flush([flush.entry(old), flush.entry(named)])
    assert isinstance(placed, Placed)
    found = await intake.placed_before(old.route, "k-1", old.fingerprint)
    assert found == Placed(placed.body, replayed=True, order_id=placed.order_id)
    assert await intake.placed_before(old.route, "k-1", "b" * 64) is None
    assert await intake.placed_before("POST /other", "k-1", old.fingerprint) is None
    assert await intake.placed_before(named.route, "k-2", named.fingerprint) is None
