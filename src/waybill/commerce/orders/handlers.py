"""The order's process meets its facts: from messages, and from customers who cancel.

Both take the order's row lock first and fold with the same pure functions, so that of confirm and
cancel exactly one wins (P8).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.contracts import (
    Event,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from waybill.commerce.orders import domain, store
from waybill.commerce.publishing import count, measure, publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from waybill.commerce.orders.domain import Decision, Makers, Order
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.process import Process
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.unit import Received, UnitOfWork

logger = logging.getLogger(__name__)

CONSUMER = "order-service"
FACTS: tuple[type[Event], ...] = (
    StockReserved,
    StockRejected,
    StockReleased,
    PaymentSucceeded,
    PaymentFailed,
    PaymentRefunded,
)
"""The events that the order service acts on."""


Stop = Callable[["UnitOfWork", Sequence["UUID"]], Awaitable[object]]
"""Marks the calls that are owed for orders, so that none is made that can be left."""


class OrderHandler:
    """Folds facts into orders. Two statements a batch, whatever its size."""

    def __init__(
        self,
        process: Process,
        counters: Counters,
        makers: Makers = domain.MAKERS,
        store: OrderStore = store,
        stop: Stop | None = None,
    ) -> None:
        self._store = store
        self._stop = stop
        self._process = process
        self._counters = counters
        self._makers = makers
        # The status of an end, its counter, and its outcome as a saga.
        self._endings = [(process.confirmed.status, "orders_confirmed_total", "completed")]
        self._endings += [
            (ending.status, "orders_cancelled_total", "compensated")
            for ending in process.endings[1:]
        ]

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of FACTS in this unit."""
        ids = {item.event.order_id for item in received if isinstance(item.event, Event)}
        orders = await self._store.lock(unit.transaction, ids)
        decision = domain.decide(self._process, orders, received, unit.now, self._makers)
        if decision.strays:
            logger.warning(
                "%d facts name orders that are not here, %s for one: this database was restored "
                "from a backup, or they are somebody else's. Run waybill audit to see what is left",
                len(decision.strays),
                decision.strays[0],
            )
        await self.save(unit, decision)

    async def cancel(
        self,
        unit: UnitOfWork,
        order_id: UUID,
        *,
        traceparent: str | None = None,
        correlation_id: str | None = None,
        owner: UUID | None = None,
    ) -> tuple[Order, bool] | None:
        """Fold a customer's cancel request; the order as it then stands, and whether it was kept.

        None: no such order, or with an `owner` somebody else's. False: the order was
        confirmed before.
        """
        order = (await self._store.lock(unit.transaction, [order_id])).get(order_id)
        if order is None or owner not in {None, order.customer_id}:
            return None
        decision = domain.cancel(self._process, order, unit.now, self._makers)
        if decision is None:
            return order, False
        await self.save(unit, decision, traceparent=traceparent, correlation_id=correlation_id)
        if self._stop is not None:
            await self._stop(unit, [order_id])
        return decision.orders.get(order_id, order), True

    async def answered(
        self,
        unit: UnitOfWork,
        orders: Mapping[UUID, Order],
        answers: Sequence[Event],
        traceparents: Mapping[UUID, str | None],
    ) -> Mapping[UUID, Order]:
        """Fold what our own calls were answered with into locked orders; these as they then are."""
        decision = domain.answered(self._process, orders, answers, unit.now, self._makers)
        traced = [
            msgspec.structs.replace(each, traceparent=traceparents.get(each.event.order_id))
            for each in decision.publications
        ]
        await self.save(unit, msgspec.structs.replace(decision, publications=traced))
        return {**orders, **decision.orders}

    async def save(
        self,
        unit: UnitOfWork,
        decision: Decision,
        *,
        traceparent: str | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Write what a decision changed, with its timeline and events, in this unit."""
        if decision.orders:
            changed = list(decision.orders.values())
            await self._store.save(unit.transaction, changed, decision.timeline)
        publish(
            unit,
            decision.publications,
            aggregate_type="Order",
            traceparent=traceparent,
            correlation_id=correlation_id,
        )
        for status, name, outcome in self._endings:
            ended = [each.order_id for each in decision.timeline if each.to_status == status]
            count(unit, self._counters, name, len(ended))
            seconds = [_seconds(decision.orders[order_id]) for order_id in ended]
            measure(unit, self._counters, "saga_duration_seconds", seconds, outcome=outcome)


def _seconds(order: Order) -> float:
    """From its acceptance to this change."""
    return (order.updated_at - order.created_at).total_seconds()
