"""SQL of the payments' books: each is its charge's delivery, one statement a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.contracts import Reason
from waybill.commerce.payments.domain import Payment, PaymentStatus, outcomes_of, reference_of
from waybill.commerce.payments.views import PaymentView

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

# A payment is its charge's delivery, and the function locks before it loads (protocol C2, C3).
_LOCK = """
SELECT order_id, payment_id, status, version, amount, currency, reason, detail, refund_id,
       provider, reference
FROM app.lock_payments($1::uuid[])
"""

_TELL = """
INSERT INTO app.payment_answers (order_id, version)
SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS u (order_id, version) ORDER BY u.order_id
ON CONFLICT (order_id) DO UPDATE SET version = excluded.version
"""

_OF_ORDER = """
SELECT payment_id, order_id, amount, currency, status, reason, detail, refund_id, created_at,
       updated_at
FROM app.payments WHERE key = $1
"""


async def lock(transaction: Transaction, order_ids: Iterable[UUID]) -> dict[UUID, Payment]:
    """The payments that these orders have, locked until the transaction ends.

    So is the place of those that have none yet: who asks for them waits, too.
    """
    rows = await transaction.fetch(_LOCK, sorted(order_ids))
    return {row["order_id"]: _payment(row) for row in rows}


async def tell(transaction: Transaction, payments: Iterable[Payment]) -> None:
    """Count the events about locked payments, where more were told than there are outcomes."""
    more = [each for each in payments if each.version != outcomes_of(each)]
    if more:
        await transaction.execute(
            _TELL, [each.order_id for each in more], [each.version for each in more]
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
            for row in await self._database.fetch(_OF_ORDER, str(order_id))
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
        provider=row["provider"] or "",
        reference=reference_of(row["reference"] or b""),
    )
