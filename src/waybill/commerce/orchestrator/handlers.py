"""The orchestrator's consumer, and its deadline, which asks and never concludes (M3, M5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.contracts import Event
from waybill.commerce.orchestrator import domain
from waybill.commerce.orchestrator.store import Sagas
from waybill.commerce.overdue import PAGE, Overdue
from waybill.commerce.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.commerce.orchestrator.domain import Orchestration, Saga
    from waybill.commerce.process import Process
    from waybill.messaging.core.unit import Received, UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts

CONSUMER = "orchestrator"
AGGREGATE = "Saga"


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


class SagaDeadlines(Overdue):
    """Of sagas: a constant of statements a page."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        orchestration: Orchestration,
        page: int = PAGE,
    ) -> None:
        super().__init__(ports, self._ask_sagas, page=page)
        self._random = ports.random
        self._process = process
        self._orchestration = orchestration
        self._sagas = Sagas(process, orchestration.order)

    async def _ask_sagas(self, unit: UnitOfWork, limit: int) -> int:
        due = await self._sagas.lock_due(unit.transaction, unit.now, limit)
        asked: list[Saga] = []
        for saga in due:
            decision = domain.ask(self._process, self._orchestration, saga, unit.now, self._random)
            if decision is not None:
                asked.extend(decision.sagas.values())
                publish(unit, decision.publications, aggregate_type=AGGREGATE)
        if asked:
            await self._sagas.save(unit.transaction, asked, ())
        return len(due)
