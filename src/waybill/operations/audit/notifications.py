"""Notifications: a customer is told once how each order ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.operations.audit.merge import side_by_side
from waybill.operations.audit.rule import Books, Kind, Rule
from waybill.operations.audit.scope import NOTIFICATION, ORDER, Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.operations.audit.rule import Found

_ORDERS = "SELECT id AS order_id, status FROM app.orders ORDER BY id"
_TOLD = """
SELECT order_id, string_agg(kind, ', ' ORDER BY kind) AS kinds,
       bool_or(status = 'PENDING') AS pending
FROM app.notifications GROUP BY order_id ORDER BY order_id
"""


async def each_is_told_once(books: Books) -> AsyncIterator[Found]:
    """I42: one notification an ended order, of the kind of its ending; sent or visibly failed."""
    process = books.scope.process
    endings = {ending.status: {ending.event} for ending in process.endings}
    if process.late_cancel:  # who cancelled late was told before that the order is confirmed
        late = process.canceled or process.failed
        endings[late.status].add(f"{late.event}, {process.confirmed.event}")
    async for order, told in side_by_side(
        books.stream(ORDER, _ORDERS), books.stream(NOTIFICATION, _TOLD), ("order_id",)
    ):
        status = order["status"] if order else None
        kinds = told["kinds"] if told else None
        some = order or told or {}
        is_right = kinds in endings.get(status or "", {None}) and not (told and told["pending"])
        if not is_right and str(some["order_id"]) not in books.waiting:
            yield {
                "order_id": some["order_id"],
                "status": status,
                "expected": " or ".join(sorted(endings.get(status or "", ()))) or None,
                "kinds": kinds,
                "pending": told and told["pending"],
            }


_SMTP = frozenset((Need.NOTIFICATIONS, Need.SMTP_LEDGER))

RULES = (
    Rule(
        id="I42",
        kind=Kind.QUIESCENT,
        title="one notification an ended order, of the right kind",
        needs=frozenset((Need.NOTIFICATIONS,)),
        compare=each_is_told_once,
        look_at=(
            'waybill psql notification -c "SELECT * FROM app.notifications WHERE order_id = '
            "'{order_id}'\""
        ),
    ),
    Rule(
        id="I43",
        kind=Kind.QUIESCENT,
        title="what was sent is in the mailbox",
        needs=_SMTP,
    ),
    Rule(
        id="I44",
        kind=Kind.QUIESCENT,
        title="one Message-ID an order and kind in the mailbox",
        needs=_SMTP,
    ),
)
