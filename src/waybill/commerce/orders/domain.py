"""Orders decided purely: what may be placed, and how an order answers each fact about it.

Every change carries its timeline entries and its events, numbered without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import (
    Event,
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReleaseRequested,
)
from waybill.commerce.process import (
    CANCEL_REQUESTED,
    Fact,
    Process,
    Progress,
    advance,
    begin,
    may_cancel,
    settled,
    unanswered,
)
from waybill.commerce.publication import Publication
from waybill.commerce.timeline import TimelineEntry, ask_pause
from waybill.messaging.core.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.unit import Received

Makers = Mapping[str, "Callable[[Order], Event]"]
"""How the order service makes each event that its process emits."""


class PlaceOrder(msgspec.Struct, frozen=True):
    """The wish to order, judged already: lines, prices and total are within their bounds."""

    customer_id: UUID
    items: tuple[Line, ...]
    currency: str
    particulars: bytes | None = None
    """What else a blueprint keeps of the request, as JSON that only it reads."""
    correlation_id: str | None = None
    """What its client calls the conversation, where a blueprint lets it."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order. `version` counts its events, `timeline_seq` its timeline entries.

    `ask_at` is when the deadline job looks at it next, unless it is settled by then. What no
    message leads to (a cancel, a deadline) has its `correlation_id`; None: its id.
    """

    id: UUID
    customer_id: UUID
    currency: str
    total_amount: Decimal
    items: tuple[Line, ...]
    progress: Progress
    payment_id: UUID | None = None
    version: int = 0
    timeline_seq: int = 0
    not_after: datetime
    ask_at: datetime
    asks: int = 0
    settled_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    particulars: bytes | None = None
    correlation_id: str | None = None


class Decision(msgspec.Struct, frozen=True):
    """The orders that changed, with the timeline entries and events to write beside them."""

    orders: dict[UUID, Order]
    timeline: list[TimelineEntry]
    publications: list[Publication]
    strays: list[UUID] = []
    """Orders that facts named and that are not here."""


def _reason(order: Order) -> Reason:
    return Reason(order.progress.reason or Reason.DEADLINE)


def _created(order: Order) -> Event:
    return OrderCreated(
        order_id=order.id,
        customer_id=order.customer_id,
        items=order.items,
        total_amount=order.total_amount,
        currency=order.currency,
        not_after=order.not_after,
    )


def _refund(order: Order) -> Event:
    return RefundRequested(
        order_id=order.id,
        amount=order.total_amount,
        reason=_reason(order),
        payment_id=order.payment_id,
    )


MAKERS: Makers = {
    "OrderCreated": _created,
    "OrderConfirmed": lambda order: OrderConfirmed(order_id=order.id),
    "OrderCancelled": lambda order: OrderCancelled(
        order_id=order.id, reason=_reason(order), detail=order.progress.detail
    ),
    "StockReleaseRequested": lambda order: StockReleaseRequested(
        order_id=order.id, items=order.items
    ),
    "RefundRequested": _refund,
}
"""What the names that a process emits stand for, where a blueprint has no maker of its own."""


def naming_customers(makers: Makers) -> Makers:
    """The same, with the customer in every ending: whom a mail about it is for."""

    def naming(make: Callable[[Order], Event]) -> Callable[[Order], Event]:
        def made(order: Order) -> Event:
            event = make(order)
            if isinstance(event, OrderConfirmed | OrderCancelled):
                return msgspec.structs.replace(event, customer_id=order.customer_id)
            return event

        return made

    return {name: naming(make) for name, make in makers.items()}


def total_of(items: Iterable[Line]) -> Decimal:
    """The exact sum of quantity times price."""
    return sum((line.quantity * line.unit_price for line in items), Decimal(0))


def place(
    process: Process,
    command: PlaceOrder,
    order_id: UUID,
    *,
    now: datetime,
    deadline: timedelta,
    makers: Makers = MAKERS,
) -> tuple[Order, TimelineEntry, Publication | None]:
    """A new order, its first timeline entry and its first event: none if it begins with a call."""
    first = process.steps[0]
    order = Order(
        id=order_id,
        customer_id=command.customer_id,
        currency=command.currency,
        total_amount=total_of(command.items),
        items=command.items,
        progress=begin(process),
        version=0 if first.called else 1,
        timeline_seq=1,
        not_after=now + deadline,
        ask_at=now + deadline,
        created_at=now,
        updated_at=now,
        particulars=command.particulars,
        correlation_id=command.correlation_id,
    )
    entry = TimelineEntry(order_id, 1, first.ask, None, process.initial, now)
    if first.called:
        return order, entry, None
    created = Publication(makers[first.ask](order), 1, correlation_id=order.correlation_id)
    return order, entry, created


def decide(
    process: Process,
    orders: Mapping[UUID, Order],
    received: Iterable[Received],
    now: datetime,
    makers: Makers = MAKERS,
) -> Decision:
    """Fold a batch of facts into the locked orders that they name.

    An order that is not here was lost in a restore, for it is written before anybody hears of it.
    Its facts change nothing: as errors they would stop the facts of all other orders (protocol
    C10), and no redrive could ever apply them.

    Raises PermanentError, naming the message, for an event that is no fact of the process.
    """
    decision = Decision({}, [], [])
    for item in received:
        event, name = item.event, type(item.event).__name__
        if not isinstance(event, Event) or name not in process.facts:
            raise PermanentError(
                f"{name} is no fact of the process {process.name!r}", message_ids=[item.message.id]
            )
        order = decision.orders.get(event.order_id) or orders.get(event.order_id)
        if order is None:
            decision.strays.append(event.order_id)
            continue
        _hear(process, makers, decision, order, event, now=now, cause=item.message)
    return decision


def answered(
    process: Process,
    orders: Mapping[UUID, Order],
    answers: Iterable[Event],
    now: datetime,
    makers: Makers = MAKERS,
) -> Decision:
    """Fold what calls of our own were answered with, into the locked orders that they are of."""
    decision = Decision({}, [], [])
    for event in answers:
        order = decision.orders.get(event.order_id) or orders[event.order_id]
        _hear(process, makers, decision, order, event, now=now, cause=None)
    return decision


def _hear(
    process: Process,
    makers: Makers,
    decision: Decision,
    order: Order,
    event: Event,
    *,
    now: datetime,
    cause: Message | None,
) -> None:
    reason, detail = getattr(event, "reason", None), getattr(event, "detail", None)
    if isinstance(event, PaymentSucceeded) and order.payment_id is None:
        order = msgspec.structs.replace(order, payment_id=event.payment_id)
    fact = Fact(type(event).__name__, reason, detail)
    _fold(process, makers, decision, order, fact, now=now, cause=cause)


def cancel(
    process: Process, order: Order, now: datetime, makers: Makers = MAKERS
) -> Decision | None:
    """The customer's wish to cancel as a fact; None if it comes too late (P8).

    A repeated wish, and one for an order that failed anyway, changes nothing.
    """
    if not may_cancel(process, order.progress):
        return None
    decision = Decision({}, [], [])
    if not process.is_terminal(order.progress.status):
        fact = Fact(CANCEL_REQUESTED, Reason.CUSTOMER_CANCELLED, "Cancelled by the customer")
        _fold(process, makers, decision, order, fact, now=now, cause=None)
    return decision


def ask(
    process: Process,
    order: Order,
    now: datetime,
    random: Callable[[], float],
    makers: Makers = MAKERS,
    *,
    is_called: bool = False,
) -> Decision | None:
    """The deadline's questions (M3): what is unanswered goes out again under a new id.

    It never ends an order: only an answer does. Where a call is out (or `is_called`: the one that
    the question is to bring about exists), nothing is to be asked, and the order is looked at
    again later. None for an order that is settled.
    """
    if settled(process, order.progress):
        return None
    questions = unanswered(process, order.progress)
    if is_called:
        questions = ()
    decision = Decision({}, [], [])
    _publish(makers, decision, order, questions, version=order.version, cause=None)
    decision.orders[order.id] = msgspec.structs.replace(
        order,
        version=order.version + len(questions),
        asks=order.asks + 1,
        ask_at=now + ask_pause(order.asks, now - order.not_after, random),
    )
    return decision


def _fold(
    process: Process,
    makers: Makers,
    decision: Decision,
    order: Order,
    fact: Fact,
    *,
    now: datetime,
    cause: Message | None,
) -> None:
    result = advance(process, order.progress, fact)
    if result.progress is order.progress:
        return
    at = max(now, order.updated_at)
    before = order.progress.status
    edges: Iterable[tuple[str, str | None]] = result.edges or ((before, None),)
    message_id = cause.id if cause else None
    seq = order.timeline_seq
    for from_status, to_status in edges:
        seq += 1
        decision.timeline.append(
            TimelineEntry(
                order.id, seq, fact.name, from_status, to_status, at, message_id, fact.detail
            )
        )
    after = msgspec.structs.replace(
        order,
        progress=result.progress,
        version=order.version + len(result.emits),
        timeline_seq=seq,
        # A capture that a refusal did not tell of arms a settled order again (protocol M5, M6).
        settled_at=(order.settled_at or at) if settled(process, result.progress) else None,
        updated_at=at,
    )
    decision.orders[order.id] = after
    _publish(makers, decision, after, result.emits, version=order.version, cause=cause)


def _publish(
    makers: Makers,
    decision: Decision,
    order: Order,
    names: Iterable[str],
    *,
    version: int,
    cause: Message | None,
) -> None:
    correlation_id = None if cause else order.correlation_id
    for name in names:
        make = makers.get(name)
        if make is None:
            raise ConfigurationError(f"the order service cannot make {name} events")
        version += 1
        told = Publication(make(order), version, cause, correlation_id=correlation_id)
        decision.publications.append(told)
