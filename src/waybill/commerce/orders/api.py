"""HTTP of the order service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.orders.request import KeyReused, Placed, PlaceOrder
    from waybill.commerce.orders.views import OrderView, TimelineEntry


class NotCancellable(msgspec.Struct, frozen=True):
    """The order ended before the request came: it stays as it is."""

    status: str


class Intake(Protocol):
    """Where new orders go in."""

    def admit(self) -> None:
        """Raise OverloadedError if a new order would have to wait too long (protocol I5).

        Called before a byte of the body is read; cheap; may let through what `place` refuses.
        """

    async def place(self, request: PlaceOrder) -> Placed | KeyReused:
        """Store the order, or find the one that this key placed. Returns after the commit.

        Raises OverloadedError and TransientError (nothing was done), OutcomeUnknownError (it may
        have been: the same key finds out). May be cancelled; the order may then still be placed.
        """


class OrderReads(Protocol):
    """What GET shows. Every method may raise TransientError."""

    async def order(self, order_id: UUID) -> OrderView | None:
        """The order as it stands, with its lines as they were sent; None if there is none."""

    async def orders(
        self, *, customer_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[OrderView]:
        """At most `limit` orders by descending id (newest first), of ids below `before`."""

    async def timeline(self, order_id: UUID) -> Sequence[TimelineEntry] | None:
        """Its way, oldest first; None if there is no such order."""


class Cancellations(Protocol):
    """Where customers cancel."""

    async def cancel(
        self, order_id: UUID, *, traceparent: str
    ) -> OrderView | NotCancellable | None:
        """Keep the request as a fact (C33) and show the order as it then stands.

        None: no such order. May be repeated. Raises TransientError, OutcomeUnknownError.
        """
