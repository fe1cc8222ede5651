"""Inventory's consumer: loads what a batch of messages touches, decides, saves set-wise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.contracts import (
    OrderConfirmed,
    OrderCreated,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory import store
from waybill.commerce.inventory.domain import ASKS, MoveKind, decide, products_of, reject
from waybill.commerce.publishing import count, publish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.inventory.domain import Reject
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "inventory-service"

_MOVE_OF = {
    OrderCreated.__name__: MoveKind.RESERVE,
    StockReleaseRequested.__name__: MoveKind.RELEASE,
    OrderConfirmed.__name__: MoveKind.COMMIT,
}


class InventoryHandler:
    """Reserves, releases and sells. Two statements a batch, whatever its size."""

    def __init__(self, counters: Counters, rejection: Reject = reject) -> None:
        self._counters = counters
        self._reject = rejection

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit."""
        causes: dict[tuple[UUID, str], UUID] = {}
        for item in received:
            if isinstance(item.event, ASKS):
                move = _MOVE_OF[type(item.event).__name__].value
                causes.setdefault((item.event.order_id, move), item.message.id)
        transaction = unit.transaction
        orders = {order_id for order_id, _ in causes}
        before, stock = await store.lock(transaction, orders, products_of(received))
        decision = decide(stock, before, received, unit.now, self._reject)
        if decision.reservations:
            await store.save_batch(
                transaction, decision, before=before, causes=causes, now=unit.now
            )
        publish(unit, decision.publications, aggregate_type="Inventory")
        reserved = sum(
            1
            for publication in decision.publications
            if isinstance(publication.event, StockReserved) and publication.aggregate_version == 1
        )
        count(unit, self._counters, "stock_reserved_total", reserved)
