"""The deadline asks, it never concludes: what is unanswered goes out again (protocol M3, M5).

Where the question is to bring about a call of our own and that call exists, it is not asked: the
call is made until it is answered, and every further event would be one more that others act on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.orders import domain, store
from waybill.commerce.overdue import PAGE, Overdue
from waybill.commerce.publishing import publish

if TYPE_CHECKING:
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.process import Process
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts


Called = Callable[["UnitOfWork", Sequence[UUID]], Awaitable[Collection[UUID]]]
"""Those of these orders whose call exists, in one statement."""


async def nobody_is_called(_unit: UnitOfWork, _order_ids: Sequence[UUID]) -> Collection[UUID]:
    """Of a process without calls of its own."""
    return ()


class Deadlines(Overdue):
    """Of orders: a constant of statements a page."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        makers: Makers = domain.MAKERS,
        page: int = PAGE,
        store: OrderStore = store,
        called: Called = nobody_is_called,
    ) -> None:
        super().__init__(ports, self._ask_orders, page=page)
        self._random = ports.random
        self._store = store
        self._process = process
        self._makers = makers
        self._called = called

    async def _ask_orders(self, unit: UnitOfWork, limit: int) -> int:
        due = await self._store.lock_due(unit.transaction, unit.now, limit)
        called = await self._called(unit, [order.id for order in due]) if due else ()
        asked: list[domain.Order] = []
        for order in due:
            decision = domain.ask(
                *(self._process, order, unit.now, self._random, self._makers),
                is_called=order.id in called,
            )
            if decision is not None:
                asked.extend(decision.orders.values())
                publish(unit, decision.publications, aggregate_type="Order")
        if asked:
            await self._store.save_asked(unit.transaction, asked)
        return len(due)
