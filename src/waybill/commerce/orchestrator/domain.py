"""Sagas decided purely: how the orchestrator answers what it hears about an order.

Facts may come before the order itself: they are kept until then. Every change carries its steps
and its events, numbered without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import (
    Event,
    OrderCancelRequested,
    OrderCreated,
    PaymentSucceeded,
    Reason,
)
from waybill.commerce.process import (
    CANCEL_REQUESTED,
    Fact,
    Process,
    Progress,
    advance,
    begin,
    settled,
    unanswered,
)
from waybill.commerce.publication import Publication
from waybill.commerce.timeline import TimelineEntry, ask_pause
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received


class Saga(msgspec.Struct, frozen=True, kw_only=True):
    """One order's process. `asked` is the order, once it is heard of; `version` counts its events.

    `ask_at` is when the deadline job looks at it next; None as long as nobody asked for anything.
    What its deadline tells has the `correlation_id` of the order as it was heard of; None: its id.
    """

    order_id: UUID
    progress: Progress
    asked: OrderCreated | None = None
    payment_id: UUID | None = None
    version: int = 0
    steps: int = 0
    ask_at: datetime | None = None
    asks: int = 0
    settled_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    correlation_id: str | None = None

    @property
    def order(self) -> OrderCreated:
        """The order that was taken: nothing is told before."""
        if self.asked is None:
            raise AssertionError("a saga tells nothing before its order is taken")
        return self.asked

    @property
    def reason(self) -> Reason:
        """Why it failed."""
        return Reason(self.progress.reason or Reason.DEADLINE)


@dataclass(frozen=True, kw_only=True)
class Orchestration:
    """What the orchestrator is told: how it makes its events.

    `progress` names the event of each status on the way; a repeated question has them repeated.
    `order` is the type of the order's event with all that its blueprint has in it.
    """

    order: type[OrderCreated]
    progress: Mapping[str, str]
    makers: Mapping[str, Callable[[Saga], Event]]


class Decision(msgspec.Struct, frozen=True):
    """The sagas that changed, with the steps and events to write beside them."""

    sagas: dict[UUID, Saga]
    steps: list[TimelineEntry]
    publications: list[Publication]


def unheard(process: Process, order_id: UUID, now: datetime) -> Saga:
    """Of an order that nothing is known of."""
    return Saga(order_id=order_id, progress=begin(process), created_at=now, updated_at=now)


def decide(
    process: Process,
    orchestration: Orchestration,
    sagas: Mapping[UUID, Saga],
    received: Iterable[Received],
    now: datetime,
) -> Decision:
    """Fold a batch of facts into the locked sagas that they name; every one of them has its row.

    Raises PermanentError, naming the message, for an event that is no fact of the process.
    """
    batch = _Batch(process, orchestration, now)
    for item in received:
        event = item.event
        if not isinstance(event, Event) or _fact_of(event).name not in process.facts:
            raise PermanentError(
                f"{type(event).__name__} is no fact of the process {process.name!r}",
                message_ids=[item.message.id],
            )
        saga = batch.decision.sagas.get(event.order_id) or sagas[event.order_id]
        batch.fold(saga, event, item.message)
    return batch.decision


def ask(
    process: Process,
    orchestration: Orchestration,
    saga: Saga,
    now: datetime,
    random: Callable[[], float],
) -> Decision | None:
    """The deadline's questions (M3): what is unanswered goes out again under a new id.

    It never ends an order. None for a saga that is settled, or whose order was not heard of: for
    that one the order service asks.
    """
    questions = unanswered(process, saga.progress)
    if not questions or saga.asked is None:
        return None
    batch = _Batch(process, orchestration, now)
    pause = ask_pause(saga.asks, now - (saga.asked.not_after or now), random)
    after = batch.tell(saga, questions, None)
    batch.decision.sagas[saga.order_id] = msgspec.structs.replace(
        after, asks=saga.asks + 1, ask_at=now + pause
    )
    return batch.decision


def _fact_of(event: Event) -> Fact:
    if isinstance(event, OrderCancelRequested):
        return Fact(CANCEL_REQUESTED, Reason.CUSTOMER_CANCELLED, "Cancelled by the customer")
    name = type(event).__name__
    return Fact(name, getattr(event, "reason", None), getattr(event, "detail", None))


def _own_correlation_id(event: Event, cause: Message) -> str | None:
    given = cause.correlation_id
    return given if given and given != str(event.order_id) else None


class _Batch:
    """The working state of one decision."""

    def __init__(self, process: Process, orchestration: Orchestration, now: datetime) -> None:
        self._process = process
        self._orchestration = orchestration
        self._now = now
        self.decision = Decision({}, [], [])

    def fold(self, saga: Saga, event: Event, cause: Message) -> None:
        """One fact. An order that is heard of again has its progress told again."""
        if isinstance(event, OrderCreated):
            if saga.asked is not None:
                after = self.tell(saga, self._progress_so_far(saga), cause)
                self.decision.sagas[saga.order_id] = after
                return
            saga = msgspec.structs.replace(
                saga,
                asked=event,
                ask_at=event.not_after,
                correlation_id=_own_correlation_id(event, cause),
            )
        elif isinstance(event, PaymentSucceeded) and saga.payment_id is None:
            saga = msgspec.structs.replace(saga, payment_id=event.payment_id)
        fact = _fact_of(event)
        result = advance(self._process, saga.progress, fact)
        if result.progress is saga.progress:
            return
        at = max(self._now, saga.updated_at)
        is_settled = settled(self._process, result.progress)
        after = msgspec.structs.replace(
            self._stepped(saga, fact, result.edges, at, cause),
            progress=result.progress,
            settled_at=(saga.settled_at or at) if is_settled else None,
            updated_at=at,
        )
        passed = (self._orchestration.progress.get(there) for _, there in result.edges)
        names = [*(name for name in passed if name), *result.emits]
        self.decision.sagas[saga.order_id] = self.tell(after, names, cause)

    def tell(self, saga: Saga, names: Iterable[str], cause: Message | None) -> Saga:
        """Publish these events about a saga; the saga that counts them."""
        version, correlation_id = saga.version, None if cause else saga.correlation_id
        for name in names:
            version += 1
            event = self._orchestration.makers[name](saga)
            told = Publication(event, version, cause, correlation_id=correlation_id)
            self.decision.publications.append(told)
        return msgspec.structs.replace(saga, version=version)

    def _progress_so_far(self, saga: Saga) -> list[str]:
        told = self._orchestration.progress
        facts = saga.progress.facts
        done = [step.status or "" for step in self._process.steps if step.done in facts]
        return [told[status] for status in done if status in told]

    def _stepped(
        self,
        saga: Saga,
        fact: Fact,
        edges: Iterable[tuple[str, str]],
        at: datetime,
        cause: Message,
    ) -> Saga:
        number = saga.steps
        walked: Iterable[tuple[str, str | None]] = edges or ((saga.progress.status, None),)
        for here, there in walked:
            number += 1
            entry = TimelineEntry(
                saga.order_id, number, fact.name, here, there, at, cause.id, fact.detail
            )
            self.decision.steps.append(entry)
        return msgspec.structs.replace(saga, steps=number)
