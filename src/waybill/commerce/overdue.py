"""Asks about everything that is overdue, a page in a transaction (protocol M3, M5).

Every process may do it at any time: rows that another one holds are skipped (C14).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts

PAGE = 200
"""Processes asked about in one transaction."""
JOB = "order deadlines"


class Overdue:
    """Periodic work. `ask_due` asks in a unit about so many at most; how many were due."""

    def __init__(
        self,
        ports: ServicePorts,
        ask_due: Callable[[UnitOfWork, int], Awaitable[int]],
        *,
        page: int = PAGE,
    ) -> None:
        self._ports = ports
        self._ask_due = ask_due
        self._page = page

    async def ask(self) -> int:
        """Ask about all that is due now; how many. May be repeated."""
        asked = 0
        while True:
            found = await self._ask_page()
            asked += found
            if found < self._page:
                return asked

    async def _ask_page(self) -> int:
        async with self._ports.database.transaction() as transaction:
            found = await self._ask_due(self._ports.unit(transaction), self._page)
            if found and crash_points.hook is not None:
                await crash_points.hook("deadline.before_commit", JOB)
        if found and crash_points.hook is not None:
            await crash_points.hook("deadline.after_commit", JOB)
        return found
