"""The events of commerce: canonical, frozen, without logic. Blueprints give them a wire form.

The bounds on their members are checked wherever an event is decoded.
Every event carries its order's id, which is its partition key and its conversation.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Protocol
from uuid import UUID

import msgspec

Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", min_length=3, max_length=3)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Units = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Reason(StrEnum):
    """Why an order failed: the code that all events and answers carry."""

    STOCK_UNAVAILABLE = "stock_unavailable"
    PAYMENT_REFUSED = "payment_refused"
    CUSTOMER_CANCELLED = "customer_cancelled"
    DEADLINE = "deadline"


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What all events have. `order_id` is the partition key."""

    order_id: UUID


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """One line of an order. The same product may stand on several lines."""

    product_id: UUID
    quantity: Units
    unit_price: Decimal


Lines = Annotated[tuple[Line, ...], msgspec.Meta(min_length=1)]


class OrderTerms(Protocol):
    """What an event says that asks for an order's stock or money."""

    @property
    def order_id(self) -> UUID:
        """Whose."""

    @property
    def items(self) -> tuple[Line, ...]:
        """For what, at least one line."""

    @property
    def total_amount(self) -> Decimal:
        """How much."""

    @property
    def currency(self) -> str:
        """Of what."""

    @property
    def not_after(self) -> datetime | None:
        """After it nothing is begun for this order any more (protocol M2)."""


class OrderCreated(Event, frozen=True, kw_only=True):
    """By orders, when an order is placed; again, with a new id, when its deadline asks.

    After `not_after` nobody begins work for this order (protocol M2, M3); None: no limit.
    """

    customer_id: UUID
    items: Lines
    total_amount: Decimal
    currency: Currency
    not_after: Instant | None = None


class OrderConfirmed(Event, frozen=True, kw_only=True):
    """By orders, once, when every step is done. Inventory then books reserved stock as sold.

    `customer_id` is there where customers are told by mail (`naming_customers`).
    """

    customer_id: UUID | None = None


class OrderCancelled(Event, frozen=True, kw_only=True):
    """By orders, once, when a step was refused, the customer cancelled or the deadline answered."""

    reason: Reason
    detail: str | None = None
    customer_id: UUID | None = None


class OrderCancelRequested(Event, frozen=True, kw_only=True):
    """By orders, where an orchestrator decides: the customer wants the order to end (M8)."""


class OrderProcessing(Event, frozen=True, kw_only=True):
    """By the orchestrator: it has taken the order. Repeated when asked again."""


class OrderPaid(Event, frozen=True, kw_only=True):
    """By the orchestrator: the order is paid. Repeated when asked again."""


class StockReleaseRequested(Event, frozen=True, kw_only=True):
    """By orders: the undo of a reservation. Again, with a new id, until it is answered."""

    items: tuple[Line, ...] = ()


class RefundRequested(Event, frozen=True, kw_only=True):
    """By orders: the undo of a payment. Again, with a new id, until it is answered.

    `payment_id` is None when a cancelled order asks a payment that never answered.
    """

    amount: Decimal
    reason: Reason
    payment_id: UUID | None = None


class StockReserved(Event, frozen=True, kw_only=True):
    """By inventory: all lines are held. Repeated, with a new id, when asked again."""

    items: Lines
    total_amount: Decimal
    currency: Currency
    not_after: Instant | None = None


class StockRejected(Event, frozen=True, kw_only=True):
    """By inventory: nothing is held and nothing will be. Repeated when asked again."""

    reason: Reason
    detail: str | None = None


class StockReleased(Event, frozen=True, kw_only=True):
    """By inventory: nothing is held (any more) and nothing will be. Repeated when asked again."""


class PaymentSucceeded(Event, frozen=True, kw_only=True):
    """By payments: the money was captured. Repeated, with a new id, when asked again."""

    payment_id: UUID
    amount: Decimal


class PaymentFailed(Event, frozen=True, kw_only=True):
    """By payments: nothing was captured and nothing will be. Repeated when asked again.

    `amount` is None when the order was cancelled before a charge was ever asked for.
    """

    reason: Reason
    detail: str | None = None
    amount: Decimal | None = None


class PaymentRefunded(Event, frozen=True, kw_only=True):
    """By payments: the captured money went back. Repeated, with a new id, when asked again."""

    payment_id: UUID
    amount: Decimal
    refund_id: UUID


EVENTS: tuple[type[Event], ...] = (
    OrderCreated,
    OrderConfirmed,
    OrderCancelled,
    StockReleaseRequested,
    RefundRequested,
    StockReserved,
    StockRejected,
    StockReleased,
    PaymentSucceeded,
    PaymentFailed,
    PaymentRefunded,
)
"""Every event of commerce; an event's name is its class's name."""

ORCHESTRATED: tuple[type[Event], ...] = (OrderCancelRequested, OrderProcessing, OrderPaid)
"""Those besides that only an orchestrator tells or hears."""
