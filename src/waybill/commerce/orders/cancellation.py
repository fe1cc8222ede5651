"""Cancel over HTTP: the customer's wish becomes a fact, under the order's lock (C33)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.orders.api import NotCancellable
from waybill.commerce.orders.contract import as_it_is
from waybill.commerce.orders.representation import view_as_stored
from waybill.messaging.core import crash_points

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.commerce.orders.contract import Show, Shown
    from waybill.commerce.orders.handlers import OrderHandler
    from waybill.messaging.runtime.ports import ServicePorts


class Cancellation:
    """The `Cancellations` of the order service's API."""

    def __init__(self, ports: ServicePorts, handler: OrderHandler, show: Show = as_it_is) -> None:
        self._show = show
        self._ports = ports
        self._handler = handler

    async def cancel(
        self,
        order_id: UUID,
        *,
        traceparent: str,
        correlation_id: str | None = None,
        owner: UUID | None = None,
    ) -> Shown | NotCancellable | None:
        """Keep the request as a fact and show the order as it then stands. May be repeated."""
        async with self._ports.database.transaction() as transaction:
            unit = self._ports.unit(transaction)
            found = await self._handler.cancel(
                unit,
                order_id,
                traceparent=traceparent,
                correlation_id=correlation_id,
                owner=owner,
            )
            if crash_points.hook is not None:
                await crash_points.hook("cancel.before_commit", str(order_id))
        if crash_points.hook is not None:
            await crash_points.hook("cancel.after_commit", str(order_id))
        if found is None:
            return None
        order, kept = found
        if not kept:
            return NotCancellable(order.progress.status)
        return self._show(view_as_stored(order), order.particulars)
