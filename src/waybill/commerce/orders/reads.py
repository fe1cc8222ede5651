"""What GET shows of orders: single statements, each over an index that serves its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.orders.representation import lines_as_stored
from waybill.commerce.orders.store import decode_lines
from waybill.commerce.orders.views import OrderView, TimelineEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row

_SHOWN = "id, customer_id, status, total_amount, currency, lines, created_at, updated_at"
_ONE = f"SELECT {_SHOWN} FROM app.orders WHERE id = $1"  # noqa: S608 - a constant
_LIST = f"SELECT {_SHOWN} FROM app.orders WHERE {{}} ORDER BY id DESC LIMIT $1"  # noqa: S608 - a constant

# Each status comes with the condition of the partial index that knows its orders; confirmed ones
# are found along the primary key.
_STATUS_CONDITIONS = {
    "PENDING": "status = 'PENDING' AND settled_at IS NULL",
    "STOCK_RESERVED": "status = 'STOCK_RESERVED' AND settled_at IS NULL",
    "CONFIRMED": "status = 'CONFIRMED'",
    "CANCELLED": "status = 'CANCELLED' AND reason IS NOT NULL",
}

_TIMELINE = """
SELECT seq, event, from_status, to_status, at, message_id, detail FROM app.order_timeline
WHERE order_id = $1 ORDER BY seq
"""


class OrderPages:
    """The `OrderReads` of the order service's API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def order(self, order_id: UUID) -> OrderView | None:
        """The order as it stands; None if there is none."""
        rows = await self._database.fetch(_ONE, order_id)
        return _view_of(rows[0]) if rows else None

    async def orders(
        self, *, customer_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[OrderView]:
        """At most `limit` orders by descending id (newest first), of ids below `before`."""
        arguments: list[object] = [limit]
        conditions = ["true"]
        if customer_id is not None:
            arguments.append(customer_id)
            conditions.append(f"customer_id = ${len(arguments)}")
        if before is not None:
            arguments.append(before)
            conditions.append(f"id < ${len(arguments)}")
        if status is not None:
            condition = _STATUS_CONDITIONS.get(status)
            if condition is None:
                return []
            conditions.append(condition)
        rows = await self._database.fetch(_LIST.format(" AND ".join(conditions)), *arguments)
        return [_view_of(row) for row in rows]

    async def timeline(self, order_id: UUID) -> Sequence[TimelineEntry] | None:
        """Its way, oldest first; None if there is no such order (every order has an entry)."""
        rows = await self._database.fetch(_TIMELINE, order_id)
        if not rows:
            return None
        return [
            TimelineEntry(
                sequence=row["seq"],
                event=row["event"],
                from_status=row["from_status"],
                to_status=row["to_status"],
                at=row["at"],
                message_id=row["message_id"],
                detail=row["detail"],
            )
            for row in rows
        ]


def _view_of(row: Row) -> OrderView:
    """An order as GET shows it, from a row of _SHOWN: what its total and times are is there."""
    return OrderView(
        row["id"],
        row["customer_id"],
        row["status"],
        row["total_amount"],
        row["currency"],
        lines_as_stored(decode_lines(row["lines"])),
        row["created_at"],
        row["updated_at"],
    )
