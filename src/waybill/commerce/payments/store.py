"""SQL of the payments' books: one row an order, one statement a batch, locked in id order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.columns import column
from waybill.commerce.contracts import Reason
from waybill.commerce.payments.domain import Payment, PaymentStatus
from waybill.commerce.payments.views import PaymentView

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

# The row is all there is to load, and FOR UPDATE returns its newest version (protocol C2).
_LOCK = """
SELECT order_id, payment_id, status, version, amount, currency, reason, detail, refund_id
FROM app.payments WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE
"""

_INSERT = """
INSERT INTO app.payments (order_id, payment_id, status, version, amount, currency, reason, detail,
                          created_at, updated_at)
SELECT u.order_id, u.payment_id, u.status, u.version, u.amount, u.currency, u.reason, u.detail,
       $9, $9
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::numeric[], $6::text[],
            $7::text[], $8::text[])
    AS u (order_id, payment_id, status, version, amount, currency, reason, detail)
"""

_UPDATE = """
UPDATE app.payments p
SET status = u.status, version = u.version, reason = u.reason, detail = u.detail,
    refund_id = u.refund_id, updated_at = $7,
    refunded_at = CASE WHEN u.status = 'REFUNDED' THEN coalesce(p.refunded_at, $7) END
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::uuid[])
    AS u (order_id, status, version, reason, detail, refund_id)
WHERE p.order_id = u.order_id AND p.order_id = ANY($1::uuid[])
"""

_OF_ORDER = """
SELECT payment_id, order_id, amount, currency, status, reason, detail, refund_id, created_at,
       updated_at
FROM app.payments WHERE order_id = $1
"""


async def lock(transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Payment]:
    """The payments that these orders have, locked until the transaction ends."""
    rows = await transaction.fetch(_LOCK, sorted(order_ids))
    return {row["order_id"]: _payment(row) for row in rows}


async def insert(transaction: Transaction, payments: Sequence[Payment], now: datetime) -> None:
    """Write orders' first rows; a concurrent first row makes the whole unit run again."""
    await transaction.execute(
        _INSERT,
        [each.order_id for each in payments],
        [each.payment_id for each in payments],
        [each.status.value for each in payments],
        [each.version for each in payments],
        column(each.amount for each in payments),
        column(each.currency for each in payments),
        column(each.reason and each.reason.value for each in payments),
        column(each.detail for each in payments),
        now,
    )


async def update(transaction: Transaction, payments: Sequence[Payment], now: datetime) -> None:
    """Write what changed in rows that are locked."""
    await transaction.execute(
        _UPDATE,
        [each.order_id for each in payments],
        [each.status.value for each in payments],
        [each.version for each in payments],
        column(each.reason and each.reason.value for each in payments),
        column(each.detail for each in payments),
        column(each.refund_id for each in payments),
        now,
    )


class PaymentPages:
    """The `PaymentReads` of the payment service's API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def payments(self, order_id: UUID) -> Sequence[PaymentView]:
        """The payments of an order: one or none."""
        return [
            PaymentView(
                id=row["payment_id"],
                order_id=row["order_id"],
                amount=row["amount"],
                currency=row["currency"],
                status=row["status"],
                reason=row["reason"],
                detail=row["detail"],
                refund_id=row["refund_id"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
            )
            for row in await self._database.fetch(_OF_ORDER, order_id)
        ]


def _payment(row: Row) -> Payment:
    reason = row["reason"]
    return Payment(
        order_id=row["order_id"],
        payment_id=row["payment_id"],
        status=PaymentStatus(row["status"]),
        version=row["version"],
        amount=row["amount"],
        currency=row["currency"],
        reason=Reason(reason) if reason else None,
        detail=row["detail"],
        refund_id=row["refund_id"],
    )
