"""What the order service shows over HTTP. The member order is the documents' and part of them."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line
from waybill.commerce.http.fields import Instant


class OrderView(msgspec.Struct, frozen=True, rename="camel"):
    """An order as POST and GET show it. Money is a JSON number, times are UTC."""

    id: UUID
    customer_id: UUID
    status: str
    total_amount: Decimal
    currency: str
    items: tuple[Line, ...]
    created_at: Instant
    updated_at: Instant


class OrderPage(msgspec.Struct, frozen=True, rename="camel"):
    """Orders, newest first; `next_cursor` is null on the last page."""

    items: tuple[OrderView, ...]
    next_cursor: str | None = None


class TimelineEntry(msgspec.Struct, frozen=True, rename="camel"):
    """One edge of the state machine that the order walked, or a fact that it kept (no statuses).

    `event` is the fact or request that led to it, `message_id` the message that brought it;
    `from_status` is null where the order begins.
    """

    sequence: int
    event: str
    from_status: str | None
    to_status: str | None
    at: Instant
    message_id: UUID | None = None
    detail: str | None = None


class Timeline(msgspec.Struct, frozen=True, rename="camel"):
    """An order's way, oldest entry first."""

    order_id: UUID
    entries: tuple[TimelineEntry, ...]
