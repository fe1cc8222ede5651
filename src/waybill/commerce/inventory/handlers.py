"""Inventory's consumer: loads what a batch of messages touches, decides, saves set-wise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.contracts import (
    Event,
    OrderConfirmed,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory import store
from waybill.commerce.inventory.domain import (
    MoveKind,
    accept,
    decide,
    products_of,
    reject,
    wants,
)
from waybill.commerce.publishing import count, publish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.inventory.domain import Accept, Reject, Wants
    from waybill.commerce.inventory.ports import StockStore
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "inventory-service"

_MOVES = ((StockReleaseRequested, MoveKind.RELEASE), (OrderConfirmed, MoveKind.COMMIT))


class InventoryHandler:
    """Reserves, releases and sells. Two statements a batch, whatever its size.

    `sells_at_once`: who asks is confirmed; stock is sold with the answer, after a deadline too.
    """

    def __init__(
        self,
        counters: Counters,
        rejection: Reject = reject,
        wants: Wants = wants,
        store: StockStore = store,
        *,
        acceptance: Accept = accept,
        sells_at_once: bool = False,
    ) -> None:
        self._store = store
        self._accept = acceptance
        self._sells_at_once = sells_at_once
        self._counters = counters
        self._reject = rejection
        self._wants = wants

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit."""
        causes: dict[tuple[UUID, str], UUID] = {}
        for item in received:
            move = self._move_of(item.event)
            if move is not None and isinstance(item.event, Event):
                causes.setdefault((item.event.order_id, move.value), item.message.id)
        transaction = unit.transaction
        orders = {order_id for order_id, _ in causes}
        products = products_of(received, self._wants)
        before, stock = await self._store.lock(transaction, orders, products)
        decision = decide(
            *(stock, before, received, unit.now, self._reject),
            wants=self._wants,
            acceptance=self._accept,
            sells_at_once=self._sells_at_once,
        )
        if decision.reservations:
            await self._store.save_batch(
                transaction, decision, before=before, causes=causes, now=unit.now
            )
        publish(unit, decision.publications, aggregate_type="Inventory")
        reserved = sum(
            1
            for publication in decision.publications
            if isinstance(publication.event, StockReserved) and publication.aggregate_version == 1
        )
        count(unit, self._counters, "stock_reserved_total", reserved)

    def _move_of(self, event: object) -> MoveKind | None:
        if self._wants(event) is not None:
            return MoveKind.RESERVE
        return next((move for kind, move in _MOVES if isinstance(event, kind)), None)
