"""Stock of a service that keeps it itself: taken in the transaction of the order (seed 000).

Decided as inventory decides a batch: order by order over the locked levels, all lines or nothing.
What an order took stays RESERVED; a refused one leaves nothing, not even a tombstone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import OrderCreated
from waybill.commerce.inventory import store
from waybill.commerce.inventory.domain import (
    Decision,
    Reservation,
    ReservationStatus,
    decide,
    products_of,
)
from waybill.messaging.core.message import Message
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from waybill.commerce.contracts import Event
    from waybill.commerce.inventory.ports import StockStore
    from waybill.messaging.core.unit import UnitOfWork


class Lack(msgspec.Struct, frozen=True):
    """Why an order gets nothing: a product that is unknown, else too few of one that is not."""

    unknown: UUID | None
    detail: str


class OwnStock:
    """Takes stock for orders that are stored in the same unit. Two statements a batch."""

    def __init__(self, store: StockStore = store) -> None:
        self._store = store

    async def take(self, unit: UnitOfWork, asks: Sequence[Event]) -> Mapping[UUID, Lack]:
        """Take what these new orders want, in their order; those that get nothing, and why."""
        received = [_received(ask, unit) for ask in asks]
        transaction = unit.transaction
        _, levels = await self._store.lock(transaction, [], products_of(received))
        decision = decide(levels, {}, received, unit.now)
        kept = {
            order_id: msgspec.structs.replace(each, version=0)  # nothing was published about it
            for order_id, each in decision.reservations.items()
            if each.status is ReservationStatus.RESERVED
        }
        if kept:
            taken = Decision(decision.levels, kept, decision.moves, [])
            await self._store.save_batch(transaction, taken, before={}, causes={}, now=unit.now)
        return {
            ask.order_id: _lack(ask, decision.reservations[ask.order_id], levels)
            for ask in asks
            if ask.order_id not in kept
        }


def _received(ask: Event, unit: UnitOfWork) -> Received:
    """As if it had come in a message."""
    message = Message(id=ask.order_id, topic="", type="", key="", value=b"", occurred_at=unit.now)
    return Received(message, ask)


def _lack(ask: Event, refusal: Reservation, known: Collection[UUID]) -> Lack:
    items = ask.items if isinstance(ask, OrderCreated) else ()
    unknown = next((each.product_id for each in items if each.product_id not in known), None)
    return Lack(unknown, refusal.detail or "")
