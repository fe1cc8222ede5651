"""What GET shows of orders: single statements, each over an index that serves its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.orders import store
from waybill.commerce.orders.contract import as_it_is
from waybill.commerce.orders.representation import lines_as_stored
from waybill.commerce.orders.store import as_bytes, decode_lines
from waybill.commerce.orders.views import OrderView, TimelineEntry
from waybill.commerce.timeline import StoredEntry
from waybill.messaging.core.outbox_row import as_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.orders.contract import Show, Shown, ShowWay
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.process import Process
    from waybill.messaging.core.ports import Database, Row

_SHOWN = (
    "id, customer_id, status, total_amount, currency, lines, created_at, updated_at, particulars"
)
_ONE = f"SELECT {_SHOWN} FROM app.orders WHERE id = $1"  # noqa: S608 - a constant
_ONE_WITH_WAY = _ONE.replace(" FROM", ", timeline, reason FROM")
_LIST = f"SELECT {_SHOWN} FROM app.orders WHERE {{}} ORDER BY id DESC LIMIT $1"  # noqa: S608 - a constant

_entries_of = msgspec.json.Decoder(list[StoredEntry]).decode


def status_conditions(process: Process) -> dict[str, str]:
    """Each status with the condition of the partial index that knows its orders.

    Confirmed ones are found along the primary key.
    """
    also = dict.fromkeys(process.lifecycle, " AND settled_at IS NULL")
    also[process.confirmed.status] = ""
    also |= dict.fromkeys(process.failures, " AND reason IS NOT NULL")
    return {status: f"status = '{status}'{more}" for status, more in also.items()}


_TIMELINE = """
SELECT seq, event, from_status, to_status, at, message_id, detail FROM app.order_timeline
WHERE order_id = $1 ORDER BY seq
"""


_OWN_TIMELINE = """
SELECT seq, event, from_status, to_status, at, message_id, detail FROM app.order_timeline
WHERE order_id = $1 AND EXISTS (SELECT 1 FROM app.orders WHERE id = $1 AND customer_id = $2)
ORDER BY seq
"""


class OrderPages:
    """The `OrderReads` of the order service's API."""

    def __init__(
        self,
        database: Database,
        process: Process,
        show: Show = as_it_is,
        show_way: ShowWay | None = None,
        store: OrderStore = store,
    ) -> None:
        self._database = database
        self._one, self._one_with_way, self._list, self._timeline, self._own_timeline = (
            store.tables(each) for each in (_ONE, _ONE_WITH_WAY, _LIST, _TIMELINE, _OWN_TIMELINE)
        )
        self._show = show
        self._show_way = show_way
        self._conditions = status_conditions(process)

    async def order(self, order_id: UUID, *, owner: UUID | None = None) -> Shown | None:
        """The order as it stands; None if there is none, or it is not the owner's."""
        if self._show_way is not None:
            return await self._with_way(order_id, owner, self._show_way)
        rows = await self._rows(self._one, order_id, owner)
        return self._shown(rows[0]) if rows else None

    async def _rows(self, statement: str, order_id: UUID, owner: UUID | None) -> Sequence[Row]:
        if owner is None:
            return await self._database.fetch(statement, order_id)
        return await self._database.fetch(f"{statement} AND customer_id = $2", order_id, owner)

    async def _with_way(self, order_id: UUID, owner: UUID | None, show: ShowWay) -> Shown | None:
        """Both stand in one row, so they are of one instant."""
        rows = await self._rows(self._one_with_way, order_id, owner)
        if not rows:
            return None
        row = rows[0]
        way = [
            TimelineEntry(
                each.seq,
                each.event,
                each.from_status,
                each.to_status,
                each.at,
                each.message_id,
                each.detail,
            )
            for each in _entries_of(row["timeline"])
        ]
        return show(_view_of(row), as_bytes(row["particulars"]), way, row["reason"])

    async def orders(
        self, *, customer_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[Shown]:
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
            condition = self._conditions.get(status)
            if condition is None:
                return []
            conditions.append(condition)
        rows = await self._database.fetch(self._list.format(" AND ".join(conditions)), *arguments)
        return [self._shown(row) for row in rows]

    def _shown(self, row: Row) -> Shown:
        return self._show(_view_of(row), as_bytes(row["particulars"]))

    async def timeline(
        self, order_id: UUID, *, owner: UUID | None = None
    ) -> Sequence[TimelineEntry] | None:
        """Its way, oldest first; None if there is no such order (every order has an entry)."""
        if owner is None:
            rows = await self._database.fetch(self._timeline, order_id)
        else:
            rows = await self._database.fetch(self._own_timeline, order_id, owner)
        if not rows:
            return None
        return [
            TimelineEntry(
                sequence=row["seq"],
                event=row["event"],
                from_status=row["from_status"],
                to_status=row["to_status"],
                at=row["at"],
                message_id=row["message_id"] and as_uuid(row["message_id"]),
                detail=row["detail"],
            )
            for row in rows
        ]


def _view_of(row: Row) -> OrderView:
    """An order as GET shows it, from a row of _SHOWN: what its total and times are is there."""
    return OrderView(
        as_uuid(row["id"]),
        as_uuid(row["customer_id"]),
        row["status"],
        row["total_amount"],
        row["currency"],
        lines_as_stored(decode_lines(row["lines"])),
        row["created_at"],
        row["updated_at"],
    )
