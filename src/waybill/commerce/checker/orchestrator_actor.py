"""The orchestrator as the walk sees it: the service's own pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.checker.model import Kind, Move, Result, ViolationError
from waybill.commerce.checker.one_order import IN_TIME, ORDER_ID, clock, received
from waybill.commerce.contracts import OrderCancelRequested
from waybill.commerce.orchestrator import domain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.commerce.contracts import Event
    from waybill.commerce.orchestrator.domain import Decision, Orchestration, Saga
    from waybill.commerce.process import Process


class OrchestratorActor:
    """Hosts the order's process, and asks at the deadline."""

    name = "orchestrator"

    def __init__(
        self,
        process: Process,
        orchestration: Orchestration,
        decide: Callable[..., Decision] = domain.decide,
    ) -> None:
        self._process = process
        self._orchestration = orchestration
        self._decide = decide
        self._endings = {ending.status: ending.event for ending in process.endings}

    def start(self) -> Result:
        """Nothing was heard."""
        return Result(_levelled(domain.unheard(self._process, ORDER_ID, IN_TIME)))

    def reads(self, event: Event) -> bool:
        """Every fact of its process, and the customer's wish."""
        name = type(event).__name__
        return name in self._process.facts or isinstance(event, OrderCancelRequested)

    def receive(self, state: Saga, event: Event, *, late: bool) -> Result:
        """Fold a fact."""
        decision = self._decide(
            self._process,
            self._orchestration,
            {ORDER_ID: state},
            received(event),
            clock(late=late),
        )
        return self._after(state, decision)

    def moves(self, state: Saga, *, late: bool) -> Iterable[Move]:
        """The deadline's question until all is answered."""
        now = clock(late=late)
        question = domain.ask(self._process, self._orchestration, state, now, lambda: 0.0)
        if question is not None:
            yield Move("the deadline asks", Kind.WHEN_QUIET, self._after(state, question))

    def _after(self, state: Saga, decision: Decision) -> Result:
        for step in decision.steps:
            here, there = step.from_status, step.to_status
            if there and there not in self._process.lifecycle[here or ""]:
                raise ViolationError(f"the steps go from {here} to {there}")
        after = _levelled(decision.sagas.get(ORDER_ID, state))
        events = tuple(each.event for each in decision.publications)
        names = [type(event).__name__ for event in events]
        told = [name for name in names if name in self._endings.values()]
        entered = [step.to_status for step in decision.steps]
        if told != [self._endings[status] for status in entered if status in self._endings]:
            raise ViolationError(
                f"from {state.progress.status} to {after.progress.status}, final events: {told}"
            )
        return Result(after, events)


def _levelled(saga: Saga) -> Saga:
    return msgspec.structs.replace(
        saga, version=0, steps=0, asks=0, ask_at=IN_TIME, updated_at=IN_TIME, settled_at=None
    )
