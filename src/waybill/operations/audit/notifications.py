"""Notifications: a customer is told once how each order ended, or others of each order."""

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


# The key of a notice is its order's id and the kind of the call, so an order has one at most.
_NOTICES = """
SELECT o.id AS order_id, o.status, d.state FROM app.orders o
LEFT JOIN messaging.deliveries d ON d.kind = 'notify' AND d.key = o.id || ':notify'
ORDER BY o.id
"""


async def each_is_told_once(books: Books) -> AsyncIterator[Found]:
    """I42: one notification an order that owes one, sent or visibly failed."""
    if books.scope.mails:
        async for found in each_is_mailed_once(books):
            yield found
    if books.scope.notifies:
        async for found in each_is_notified_once(books):
            yield found


async def each_is_notified_once(books: Books) -> AsyncIterator[Found]:
    """Every order has its notice, and ended as that did (seed 000: placed, so it owes one)."""
    process = books.scope.process
    states = {process.confirmed.status: "DELIVERED", process.failed.status: "REFUSED"}
    async for row in books.stream(ORDER, _NOTICES):
        expected = states.get(row["status"], "PARKED")
        if row["state"] != expected and str(row["order_id"]) not in books.waiting:
            place = {"database": ORDER, "table": "notify.notification"}
            yield {**place, **row, "expected": expected}


async def each_is_mailed_once(books: Books) -> AsyncIterator[Found]:
    """One mail an ended order, of the kind of its ending."""
    process = books.scope.process
    endings = {each.status: {each.event} for each in process.endings if each.event}
    # Whose order fails after its confirmation was told of that before.
    late = [process.canceled or process.failed] if process.late_cancel else []
    for ending in [*late, *([process.failed] if process.afterwards else [])]:
        kinds = sorted(event for event in (ending.event, process.confirmed.event) if event)
        endings[ending.status].add(", ".join(kinds))
    async for order, told in side_by_side(
        books.stream(ORDER, _ORDERS), books.stream(NOTIFICATION, _TOLD), ("order_id",)
    ):
        status = order["status"] if order else None
        told_of = told["kinds"] if told else None
        some = order or told or {}
        is_right = told_of in endings.get(status or "", {None}) and not (told and told["pending"])
        if not is_right and str(some["order_id"]) not in books.waiting:
            yield {
                "database": NOTIFICATION,
                "table": "app.notifications",
                "order_id": some["order_id"],
                "status": status,
                "expected": " or ".join(sorted(endings.get(status or "", ()))) or None,
                "kinds": told_of,
                "pending": told and told["pending"],
            }


_SMTP = frozenset((Need.NOTIFICATIONS, Need.SMTP_LEDGER))

RULES = (
    Rule(
        id="I42",
        kind=Kind.QUIESCENT,
        title="one notification an order that owes one, of the right kind",
        needs=frozenset((Need.NOTIFICATIONS,)),
        compare=each_is_told_once,
        look_at=(
            "waybill psql {database} -c \"SELECT * FROM {table} WHERE order_id = '{order_id}'\""
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
