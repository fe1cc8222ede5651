"""The deadline asks, it never concludes: what is unanswered goes out again (protocol M3, M5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.orders import domain, store
from waybill.commerce.publishing import publish
from waybill.messaging.core import crash_points

if TYPE_CHECKING:
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.process import Process
    from waybill.messaging.runtime.ports import ServicePorts

PAGE = 200
"""Orders asked about in one transaction."""


class Deadlines:
    """Periodic work: every process may run it, rows that another one holds are skipped (C14)."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        makers: Makers = domain.MAKERS,
        page: int = PAGE,
        store: OrderStore = store,
    ) -> None:
        self._store = store
        self._ports = ports
        self._process = process
        self._makers = makers
        self._page = page

    async def ask(self) -> int:
        """Ask about every order that is due now; how many. May be repeated."""
        asked = 0
        while True:
            found = await self._ask_page()
            asked += found
            if found < self._page:
                return asked

    async def _ask_page(self) -> int:
        async with self._ports.database.transaction() as transaction:
            unit = self._ports.unit(transaction)
            due = await self._store.lock_due(transaction, unit.now, self._page)
            asked: list[domain.Order] = []
            for order in due:
                decision = domain.ask(
                    self._process, order, unit.now, self._ports.random, self._makers
                )
                if decision is not None:
                    asked.extend(decision.orders.values())
                    publish(unit, decision.publications, aggregate_type="Order")
            if asked:
                await self._store.save_asked(transaction, asked)
            if due and crash_points.hook is not None:
                await crash_points.hook("deadline.before_commit", "order deadlines")
        if due and crash_points.hook is not None:
            await crash_points.hook("deadline.after_commit", "order deadlines")
        return len(due)
