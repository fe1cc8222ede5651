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
from waybill.commerce.inventory.domain import ASKS, MoveKind, decide, products_of
from waybill.commerce.publishing import count, publish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from waybill.commerce.inventory.domain import Decision, Reservation
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "inventory-service"

_MOVE_OF = {
    OrderCreated: MoveKind.RESERVE,
    StockReleaseRequested: MoveKind.RELEASE,
    OrderConfirmed: MoveKind.COMMIT,
}


class InventoryHandler:
    """Reserves, releases and sells. At most six statements a batch, whatever its size."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit."""
        causes: dict[tuple[UUID, str], UUID] = {}
        for item in received:
            if isinstance(item.event, ASKS):
                move = _MOVE_OF[type(item.event)].value
                causes.setdefault((item.event.order_id, move), item.message.id)
        transaction = unit.transaction
        before = await store.lock_reservations(transaction, {order for order, _ in causes})
        stock = await store.lock_stock(transaction, products_of(received, before))
        decision = decide(stock, before, received, unit.now)
        await _save(unit, decision, before, causes)
        publish(unit, decision.publications, aggregate_type="Inventory")
        reserved = sum(
            1
            for publication in decision.publications
            if isinstance(publication.event, StockReserved) and publication.aggregate_version == 1
        )
        count(unit, self._counters, "stock_reserved_total", reserved)


async def _save(
    unit: UnitOfWork,
    decision: Decision,
    before: Mapping[UUID, Reservation],
    causes: Mapping[tuple[UUID, str], UUID],
) -> None:
    written = decision.reservations.values()
    first = [each for each in written if each.order_id not in before]
    changed = [each for each in written if each.order_id in before]
    if first:
        await store.insert_reservations(unit.transaction, first, unit.now)
    if changed:
        await store.update_reservations(unit.transaction, changed, unit.now)
    if decision.levels:
        await store.update_stock(unit.transaction, list(decision.levels.values()), unit.now)
    if decision.moves:
        await store.insert_moves(unit.transaction, decision.moves, unit.now, causes=causes)
