"""The other participants of one order as the walk sees them: the services' own pure functions.

Counters and clocks are levelled, since states that differ only in them behave the same.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from waybill.commerce.checker.model import Kind, Move, Result, ViolationError
from waybill.commerce.checker.one_order import (
    CUSTOMER_ID,
    DEADLINE,
    IN_TIME,
    ORDER_ID,
    PRODUCT_ID,
    UNITS,
    clock,
    received,
)
from waybill.commerce.contracts import (
    Line,
    OrderCancelled,
    OrderConfirmed,
    StockReleaseRequested,
)
from waybill.commerce.inventory import domain as inventory
from waybill.commerce.notifications import domain as notifications
from waybill.commerce.orders import domain as orders
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.commerce.contracts import Event
    from waybill.commerce.process import Process


class OrderActor:
    """Places one order, hosts its process, may be told to cancel, asks at the deadline."""

    name = "order"

    def __init__(
        self,
        process: Process,
        decide: Callable[..., orders.Decision] = orders.decide,
        *,
        makers: orders.Makers | None = None,
        particulars: bytes | None = None,
    ) -> None:
        self._made: dict[str, Any] = {} if makers is None else {"makers": makers}
        self._particulars = particulars
        self._process = process
        self._decide = decide
        told = () if process.follows else process.endings
        self._endings = {each.status: each.event for each in told if each.event}

    def start(self) -> Result:
        """The order is placed."""
        line = Line(PRODUCT_ID, UNITS, Decimal("1.50"))
        command = orders.PlaceOrder(CUSTOMER_ID, (line,), "EUR", self._particulars)
        order, _, first = orders.place(
            self._process, command, ORDER_ID, now=IN_TIME, deadline=DEADLINE, **self._made
        )
        return Result(_levelled(order), () if first is None else (first.event,))

    def reads(self, event: Event) -> bool:
        """Every fact of its process."""
        return _name(event) in self._process.facts

    def receive(self, state: orders.Order, event: Event, *, late: bool) -> Result:
        """Fold a fact."""
        now = clock(late=late)
        decision = self._decide(
            self._process, {ORDER_ID: state}, received(event), now, **self._made
        )
        return self._after(state, decision)

    def moves(self, state: orders.Order, *, late: bool) -> Iterable[Move]:
        """The customer's cancel while it counts; the deadline's question until all is answered."""
        now = clock(late=late)
        if not self._process.is_terminal(state.progress.status):
            wish = orders.cancel(self._process, state, now, **self._made)
            if wish is not None and wish.orders:
                yield Move("the customer cancels", Kind.OPTIONAL, self._after(state, wish))
        question = orders.ask(self._process, state, now, lambda: 0.0, **self._made)
        if question is not None and question.publications and self._process.has_deadline:
            asked = tuple(each.event for each in question.publications)
            after = _levelled(question.orders[ORDER_ID])
            yield Move("the deadline asks", Kind.WHEN_QUIET, Result(after, asked))

    def _after(self, state: orders.Order, decision: orders.Decision) -> Result:
        process = self._process
        for entry in decision.timeline:
            here, there = entry.from_status, entry.to_status
            if there and there not in process.lifecycle[here or ""]:
                raise ViolationError(f"the timeline goes from {here} to {there}")
        after = _levelled(decision.orders.get(ORDER_ID, state))
        events = tuple(each.event for each in decision.publications)
        told = [name for name in map(_name, events) if name in self._endings.values()]
        entered = [entry.to_status for entry in decision.timeline]
        if told != [self._endings[status] for status in entered if status in self._endings]:
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
        self,
        available: int,
        decide: Callable[..., inventory.Decision] = inventory.decide,
        *,
        sells: bool = True,
        wants: inventory.Wants = inventory.wants,
    ) -> None:
        self._wants = wants
        sale: tuple[type[Event], ...] = (OrderConfirmed,) if sells else ()
        self._asks: tuple[type[Event], ...] = (StockReleaseRequested, *sale)
        self._available = available
        self._decide = decide

    def start(self) -> Result:
        """Some stock, no reservation."""
        return Result(InventoryState(inventory.Stock(PRODUCT_ID, "thing", self._available), None))

    def reads(self, event: Event) -> bool:
        """What inventory acts on."""
        return isinstance(event, self._asks) or self._wants(event) is not None

    def receive(self, state: InventoryState, event: Event, *, late: bool) -> Result:
        """Decide one message; the units must add up afterwards (P7)."""
        known = {} if state.reservation is None else {ORDER_ID: state.reservation}
        try:
            decision = self._decide(
                {PRODUCT_ID: state.level},
                known,
                received(event),
                clock(late=late),
                wants=self._wants,
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


class NotificationActor:
    """Tells the customer about an ending; its state counts the texts of each kind."""

    name = "notification"

    def __init__(
        self,
        tell: Callable[[object], notifications.Notification | None] = notifications.notification_of,
        confirmed: type[Event] = OrderConfirmed,
    ) -> None:
        self._tell = tell
        self._confirmed = confirmed

    def start(self) -> Result:
        """Nothing told yet."""
        return Result((0, 0))

    def reads(self, event: Event) -> bool:
        """The two endings."""
        return isinstance(event, (self._confirmed, OrderCancelled))

    def receive(self, state: tuple[int, int], event: Event, *, late: bool) -> Result:  # noqa: ARG002 - timeless
        """One notification an order and kind, however often it is told."""
        notification = self._tell(event)
        if notification is None:
            raise ViolationError("an ending without a text")
        confirmed = notification.kind == self._confirmed.__name__
        return Result((int(confirmed or state[0] > 0), int(not confirmed or state[1] > 0)))

    def moves(self, state: tuple[int, int], *, late: bool) -> Iterable[Move]:  # noqa: ARG002 - none
        """Sending is a delivery of its own, and concerns no other participant."""
        return ()
