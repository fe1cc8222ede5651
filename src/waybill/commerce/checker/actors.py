"""The participants of one order as the walk sees them: the services' own pure functions.

Counters and clocks are levelled, since states that differ only in them behave the same.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec

from waybill.commerce.checker.search import Kind, Move, Result, ViolationError
from waybill.commerce.contracts import (
    Event,
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    RefundRequested,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory import domain as inventory
from waybill.commerce.notifications import domain as notifications
from waybill.commerce.orders import domain as orders
from waybill.commerce.payments import domain as payments
from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.message import Message
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.commerce.process import Process

ORDER_ID, PRODUCT_ID, CUSTOMER_ID, PAYMENT_ID = (UUID(int=number) for number in range(1, 5))
IN_TIME = datetime(2000, 1, 1, tzinfo=UTC)
DEADLINE = timedelta(hours=1)
LATE = IN_TIME + 2 * DEADLINE
UNITS = 2
_MESSAGE = Message(id=UUID(int=9), topic="", type="", key="", value=b"", occurred_at=IN_TIME)


def _received(event: Event) -> tuple[Received]:
    return (Received(_MESSAGE, event),)


def _clock(*, late: bool) -> datetime:
    return LATE if late else IN_TIME


class OrderActor:
    """Places one order, hosts its process, may be told to cancel, asks at the deadline."""

    name = "order"

    def __init__(
        self, process: Process, decide: Callable[..., orders.Decision] = orders.decide
    ) -> None:
        self._process = process
        self._decide = decide
        self._endings = (process.confirmed.event, process.failed.event)

    def start(self) -> Result:
        """The order is placed."""
        line = Line(PRODUCT_ID, UNITS, Decimal("1.50"))
        command = orders.PlaceOrder(CUSTOMER_ID, (line,), "EUR")
        order, _, first = orders.place(
            self._process, command, ORDER_ID, now=IN_TIME, deadline=DEADLINE
        )
        return Result(_levelled(order), (first.event,))

    def reads(self, event: Event) -> bool:
        """Every fact of its process."""
        return _name(event) in self._process.facts

    def receive(self, state: orders.Order, event: Event, *, late: bool) -> Result:
        """Fold a fact."""
        now = _clock(late=late)
        decision = self._decide(self._process, {ORDER_ID: state}, _received(event), now)
        return self._after(state, decision)

    def moves(self, state: orders.Order, *, late: bool) -> Iterable[Move]:
        """The customer's cancel while it counts; the deadline's question until all is answered."""
        now = _clock(late=late)
        if not self._process.is_terminal(state.progress.status):
            wish = orders.cancel(self._process, state, now)
            if wish is not None:
                yield Move("the customer cancels", Kind.OPTIONAL, self._after(state, wish))
        question = orders.ask(self._process, state, now, lambda: 0.0)
        if question is not None and self._process.has_deadline:
            yield Move("the deadline asks", Kind.WHEN_QUIET, self._after(state, question))

    def _after(self, state: orders.Order, decision: orders.Decision) -> Result:
        process = self._process
        for entry in decision.timeline:
            here, there = entry.from_status, entry.to_status
            if there and there not in process.lifecycle[here or ""]:
                raise ViolationError(f"the timeline goes from {here} to {there}")
        after = _levelled(decision.orders.get(ORDER_ID, state))
        events = tuple(each.event for each in decision.publications)
        told = [name for name in map(_name, events) if name in self._endings]
        ends = process.is_terminal(after.progress.status) and not process.is_terminal(
            state.progress.status
        )
        if len(told) != int(ends):
            raise ViolationError(
                f"from {state.progress.status} to {after.progress.status}, final events: {told}"
            )
        return Result(after, events)


def _name(event: Event) -> str:
    return type(event).__name__


def _levelled(order: orders.Order) -> orders.Order:
    return msgspec.structs.replace(
        order,
        version=0,
        timeline_seq=0,
        asks=0,
        ask_at=IN_TIME,
        updated_at=IN_TIME,
        settled_at=None,
    )


class InventoryState(NamedTuple):
    """The level of the one product and the order's reservation."""

    level: inventory.Stock
    reservation: inventory.Reservation | None


class InventoryActor:
    """Holds, releases and sells the units of the one product."""

    name = "inventory"

    def __init__(
        self, available: int, decide: Callable[..., inventory.Decision] = inventory.decide
    ) -> None:
        self._available = available
        self._decide = decide

    def start(self) -> Result:
        """Some stock, no reservation."""
        return Result(InventoryState(inventory.Stock(PRODUCT_ID, "thing", self._available), None))

    def reads(self, event: Event) -> bool:
        """What inventory acts on."""
        return isinstance(event, (OrderCreated, StockReleaseRequested, OrderConfirmed))

    def receive(self, state: InventoryState, event: Event, *, late: bool) -> Result:
        """Decide one message; the units must add up afterwards (P7)."""
        known = {} if state.reservation is None else {ORDER_ID: state.reservation}
        try:
            decision = self._decide(
                {PRODUCT_ID: state.level}, known, _received(event), _clock(late=late)
            )
        except PermanentError as error:
            raise ViolationError(str(error)) from error
        level = decision.levels.get(PRODUCT_ID, state.level)
        counts = (level.available, level.reserved, level.sold)
        if min(counts) < 0 or sum(counts) != self._available:
            raise ViolationError(f"available, reserved, sold = {counts} of {self._available}")
        reservation = decision.reservations.get(ORDER_ID, state.reservation)
        if reservation is not None:
            reservation = msgspec.structs.replace(reservation, version=0)
        events = tuple(each.event for each in decision.publications)
        return Result(InventoryState(level, reservation), events)

    def moves(self, state: InventoryState, *, late: bool) -> Iterable[Move]:  # noqa: ARG002 - none
        """Inventory has no timer of its own (M7)."""
        return ()


class PaymentState(NamedTuple):
    """The books, the charge's delivery and what the provider itself has done.

    `charge` is "", "owed", "called" (an answer may come), "unknown" (ask first) or "settled".
    """

    payment: payments.Payment | None = None
    charge: str = ""
    cancelled: bool = False
    refund_owed: bool = False
    captured: bool = False
    refunded: bool = False
    unknowns: int = 1
    strays: int = 1
    stray: bool = False


class PaymentActor:
    """Keeps the books, and its provider captures, refuses or leaves it in the dark.

    An unknown outcome may wait as long as it likes: that is also a delivery parked for an
    operator. A stray call is one whose lease was lost: the provider may capture it late (M6).
    """

    name = "payment"

    def __init__(
        self,
        decide: Callable[..., payments.Decision] = payments.decide,
        *,
        unknowns: int = 1,
        strays: int = 1,
    ) -> None:
        self._decide = decide
        self._first = PaymentState(unknowns=unknowns, strays=strays)

    def start(self) -> Result:
        """Nothing asked, nothing captured."""
        return Result(self._first)

    def reads(self, event: Event) -> bool:
        """What payments act on."""
        return isinstance(event, (StockReserved, OrderCancelled, RefundRequested))

    def receive(self, state: PaymentState, event: Event, *, late: bool) -> Result:
        """Decide one message; a second charge of one order must never be owed (P6)."""
        known = {} if state.payment is None else {ORDER_ID: state.payment}
        decision = self._decide(
            known, _received(event), now=_clock(late=late), new_id=lambda: PAYMENT_ID
        )
        owed = [delivery.kind for delivery in decision.deliveries]
        if payments.CHARGE in owed and state.charge:
            raise ViolationError("the order is charged a second time")
        if payments.REFUND in owed and (state.refund_owed or state.refunded):
            raise ViolationError("the payment is refunded a second time")
        after = state._replace(
            payment=_uncounted(decision.payments.get(ORDER_ID, state.payment)),
            charge="owed" if payments.CHARGE in owed else state.charge,
            refund_owed=state.refund_owed or payments.REFUND in owed,
            cancelled=state.cancelled or bool(decision.cancels),
        )
        return Result(after, tuple(each.event for each in decision.publications))

    def moves(self, state: PaymentState, *, late: bool) -> Iterable[Move]:
        """What the deliverer and the provider may do next."""
        if state.charge == "owed":
            yield from self._owed(state, late=late)
        elif state.charge == "called":
            yield from self._called(state)
        elif state.charge == "unknown":
            yield from self._unknown(state)
        if state.stray and not state.captured:
            label = "the stray call is captured after all"
            yield Move(label, Kind.OPTIONAL, _captured(state))
        if state.refund_owed:
            yield Move("the provider refunds", Kind.DUE, _refunded(state))

    def _owed(self, state: PaymentState, *, late: bool) -> Iterable[Move]:
        if state.cancelled or late:
            why = "cancelled" if state.cancelled else "deadline"
            yield Move(f"the charge is not made: {why}", Kind.DUE, _refused(state, why))
        else:
            yield Move("the provider is called", Kind.DUE, Result(state._replace(charge="called")))

    def _called(self, state: PaymentState) -> Iterable[Move]:
        yield Move("the provider captures", Kind.DUE, _captured(state))
        if not state.captured:
            yield Move("the provider refuses", Kind.DUE, _refused(state, "declined"))
        if state.unknowns:
            lost = state._replace(charge="unknown", unknowns=state.unknowns - 1)
            yield Move(
                "the provider captures, its answer is lost",
                Kind.DUE,
                Result(lost._replace(captured=True)),
            )
            yield Move("the call is lost", Kind.DUE, Result(lost))
        if state.strays:
            stray = state._replace(charge="owed", strays=state.strays - 1, stray=True)
            yield Move("the lease of the call is lost", Kind.DUE, Result(stray))

    def _unknown(self, state: PaymentState) -> Iterable[Move]:
        if state.captured:
            yield Move("the provider is asked: it captured", Kind.DUE, _captured(state))
        else:
            owed = Result(state._replace(charge="owed"))
            yield Move("the provider is asked: it knows of no call", Kind.DUE, owed)


def _uncounted(payment: payments.Payment | None) -> payments.Payment | None:
    return None if payment is None else msgspec.structs.replace(payment, version=0)


def _settled(state: PaymentState, settlement: Delivered | Refused) -> Result:
    if state.payment is None:
        raise ViolationError("a charge is settled that is not in the books")
    done = payments.charge_settled(state.payment, settlement)
    if done is None:
        return Result(state._replace(charge="settled"))
    payment, publication = done
    after = state._replace(charge="settled", payment=_uncounted(payment))
    return Result(after, (publication.event,))


def _captured(state: PaymentState) -> Result:
    return _settled(state._replace(captured=True), Delivered())


def _refused(state: PaymentState, why: str) -> Result:
    return _settled(state, Refused(why))


def _refunded(state: PaymentState) -> Result:
    if state.payment is None or not state.captured:
        raise ViolationError("money is refunded that was never captured")
    done = payments.refund_settled(state.payment, Delivered())
    after = state._replace(refund_owed=False, refunded=True)
    if done is None:
        return Result(after)
    payment, publication = done
    return Result(after._replace(payment=_uncounted(payment)), (publication.event,))


class NotificationActor:
    """Tells the customer about an ending; its state counts the texts of each kind."""

    name = "notification"

    def start(self) -> Result:
        """Nothing told yet."""
        return Result((0, 0))

    def reads(self, event: Event) -> bool:
        """The two endings."""
        return isinstance(event, (OrderConfirmed, OrderCancelled))

    def receive(self, state: tuple[int, int], event: Event, *, late: bool) -> Result:  # noqa: ARG002 - timeless
        """One notification an order and kind, however often it is told."""
        notification = notifications.notification_of(event)
        if notification is None:
            raise ViolationError("an ending without a text")
        confirmed = notification.kind == "OrderConfirmed"
        return Result((int(confirmed or state[0] > 0), int(not confirmed or state[1] > 0)))

    def moves(self, state: tuple[int, int], *, late: bool) -> Iterable[Move]:  # noqa: ARG002 - none
        """Sending is a delivery of its own, and concerns no other participant."""
        return ()
