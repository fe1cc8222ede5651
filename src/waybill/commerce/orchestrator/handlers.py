"""The orchestrator's consumer, and its deadline, which asks and never concludes (M3, M5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.contracts import Event
from waybill.commerce.orchestrator import domain
from waybill.commerce.orchestrator.store import Sagas
from waybill.commerce.publishing import publish
from waybill.messaging.core import crash_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.orchestrator.domain import Orchestration, Saga
    from waybill.commerce.process import Process
    from waybill.messaging.core.unit import Received, UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts

CONSUMER = "orchestrator"
AGGREGATE = "Saga"
PAGE = 200
"""Sagas asked about in one transaction."""


class OrchestratorHandler:
    """Folds facts into sagas. Three statements a batch, whatever its size."""

    def __init__(self, process: Process, orchestration: Orchestration) -> None:
        self._process = process
        self._orchestration = orchestration
        self._sagas = Sagas(process, orchestration.order)

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of facts in this unit."""
        ids = {item.event.order_id for item in received if isinstance(item.event, Event)}
        sagas = await self._sagas.lock(unit.transaction, ids, unit.now)
        decision = domain.decide(self._process, self._orchestration, sagas, received, unit.now)
        if decision.sagas:
            changed = list(decision.sagas.values())
            await self._sagas.save(unit.transaction, changed, decision.steps)
        publish(unit, decision.publications, aggregate_type=AGGREGATE)


class SagaDeadlines:
    """Periodic work: every process may run it, rows that another one holds are skipped (C14)."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        orchestration: Orchestration,
        page: int = PAGE,
    ) -> None:
        self._ports = ports
        self._process = process
        self._orchestration = orchestration
        self._sagas = Sagas(process, orchestration.order)
        self._page = page

    async def ask(self) -> int:
        """Ask about every saga that is due now; how many. May be repeated."""
        asked = 0
        while True:
            found = await self._ask_page()
            asked += found
            if found < self._page:
                return asked

    async def _ask_page(self) -> int:
        async with self._ports.database.transaction() as transaction:
            unit = self._ports.unit(transaction)
            due = await self._sagas.lock_due(transaction, unit.now, self._page)
            asked: list[Saga] = []
            for saga in due:
                decision = domain.ask(
                    self._process, self._orchestration, saga, unit.now, self._ports.random
                )
                if decision is not None:
                    asked.extend(decision.sagas.values())
                    publish(unit, decision.publications, aggregate_type=AGGREGATE)
            if asked:
                await self._sagas.save(transaction, asked, ())
            if due and crash_points.hook is not None:
                await crash_points.hook("deadline.before_commit", "order deadlines")
        if due and crash_points.hook is not None:
            await crash_points.hook("deadline.after_commit", "order deadlines")
        return len(due)
