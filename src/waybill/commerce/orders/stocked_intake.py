"""The intake that takes stock in the transaction that stores the order (seed 000): both or none.

Here stock is locked before the key is (unlike protocol C3's order): what is refused leaves no key.
Nobody who holds a key or an order waits for stock in this service, so no circle can close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from waybill.commerce.orders import store
from waybill.commerce.orders.refusing_intake import RefusingFlush
from waybill.messaging.core.errors import ConcurrencyConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from waybill.commerce.contracts import Event
    from waybill.commerce.orders.contract import Show
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.intake import Draft
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.orders.request import NotTaken
    from waybill.commerce.orders.store import Key, KeyRecord
    from waybill.commerce.process import Process
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts

LOOKS_MAX: Final = 3
"""How often a flush looks again when another process takes one of its keys at the same instant."""


class StockTaker(Protocol):
    """Stock in the order's own database."""

    async def take(self, unit: UnitOfWork, asks: Sequence[Event]) -> Mapping[UUID, NotTaken]:
        """Lock what these new orders want and take it, all lines of an order or nothing.

        The orders that get nothing, by id. What is taken is gone with the unit's rollback.
        """


class StockedFlush(RefusingFlush):
    """An OrderFlush whose orders have their stock, or are refused and not stored at all."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        deadline: timedelta,
        counters: Counters,
        makers: Makers,
        placed: Show,
        stock: StockTaker,
        store: OrderStore = store,
    ) -> None:
        super().__init__(
            ports,
            process=process,
            deadline=deadline,
            counters=counters,
            makers=makers,
            placed=placed,
            store=store,
        )
        self._stock = stock

    async def _commit(self, drafts: Mapping[Key, Draft]) -> Mapping[Key, KeyRecord | NotTaken]:
        for _ in range(LOOKS_MAX - 1):
            try:
                return await super()._commit(drafts)
            except ConcurrencyConflictError:
                continue  # the winner has committed: its key is read now, and takes no stock
        return await super()._commit(drafts)

    async def refused(self, unit: UnitOfWork, new: Sequence[Draft]) -> Mapping[UUID, NotTaken]:
        """See RefusingFlush: a replay takes no stock."""
        asks = [each.created.event for each in new if each.created is not None]
        return await self._stock.take(unit, asks)

    async def _keep(
        self, transaction: Transaction, fit: Mapping[Key, Draft]
    ) -> Mapping[Key, KeyRecord | NotTaken]:
        stored = await super()._keep(transaction, fit)
        if any(record is not fit[key].record for key, record in stored.items()):
            raise ConcurrencyConflictError("a key was taken while its stock was")
        return stored
