"""The payment simulator's own books: append-only, idempotent by key, written a batch at a time."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import OutcomeUnknownError, TransientError
from waybill.messaging.core.outcome import Delivered, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from waybill.messaging.core.outcome import QueryOutcome
    from waybill.messaging.core.ports import Database, Row, Settlement

_INSERT_CHARGES = """
INSERT INTO app.charges
    (idempotency_key, charge_id, order_id, amount, currency, outcome, created_at)
SELECT u.*, $7
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::numeric[], $5::text[], $6::text[])
    AS u (idempotency_key, charge_id, order_id, amount, currency, outcome)
ORDER BY idempotency_key ON CONFLICT (idempotency_key) DO NOTHING
RETURNING idempotency_key, charge_id AS id, amount, currency, outcome
"""

_CHARGES = """
SELECT idempotency_key, charge_id AS id, amount, currency, outcome FROM app.charges
WHERE idempotency_key = ANY($1)
"""

# Never more than was captured, and once a charge (I39): the charge decides.
_INSERT_REFUNDS = """
INSERT INTO app.refunds
    (idempotency_key, refund_id, charge_key, order_id, amount, currency, created_at)
SELECT u.idempotency_key, u.refund_id, c.idempotency_key, c.order_id, u.amount, c.currency, $6
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::numeric[], $5::text[])
    AS u (idempotency_key, refund_id, charge_key, amount, currency)
JOIN app.charges c ON c.idempotency_key = u.charge_key
WHERE c.idempotency_key = ANY($3) AND c.outcome = 'CAPTURED' AND u.amount <= c.amount
  AND u.currency = c.currency
ORDER BY u.idempotency_key ON CONFLICT DO NOTHING
"""

_REFUNDS = """
SELECT idempotency_key, refund_id AS id, amount, currency, 'REFUNDED' AS outcome FROM app.refunds
WHERE idempotency_key = ANY($1)
"""

_TOTALS = """
SELECT (SELECT coalesce(sum(amount), 0) FROM app.charges WHERE outcome = 'CAPTURED') AS captured,
       (SELECT coalesce(sum(amount), 0) FROM app.refunds) AS refunded
"""

KEY_REUSED = Refused("idempotency_key_reused", "The key belongs to another amount")
NOTHING_TO_REFUND = Refused("nothing_to_refund", "Nothing was captured that could be given back")


class Charge(msgspec.Struct, frozen=True):
    """A request to capture money."""

    key: str
    order_id: UUID
    amount: Decimal
    currency: str


class Refund(msgspec.Struct, frozen=True):
    """A request to give back what the charge under `charge_key` captured."""

    key: str
    charge_key: str
    amount: Decimal
    currency: str


class Ledger:
    """Charges and refunds of the simulator. A key keeps its first answer for ever."""

    def __init__(
        self, database: Database, *, now: Callable[[], datetime], new_id: Callable[[], UUID]
    ) -> None:
        self._database = database
        self._now = now
        self._new_id = new_id

    async def charge(self, charges: Sequence[tuple[Charge, bool]]) -> list[Settlement]:
        """Capture or decline (the flag says which) in one statement; each one's answer."""
        first = {charge.key: (charge, captured) for charge, captured in charges}
        with _unknown_if_lost():
            if crash_points.hook is not None:
                await crash_points.hook("provider.before_write", "charge")
            rows = await self._database.fetch(
                _INSERT_CHARGES,
                list(first),
                [self._new_id() for _ in first],
                [charge.order_id for charge, _ in first.values()],
                [charge.amount for charge, _ in first.values()],
                [charge.currency for charge, _ in first.values()],
                ["CAPTURED" if captured else "DECLINED" for _, captured in first.values()],
                self._now(),
            )
            if crash_points.hook is not None:
                await crash_points.hook("provider.after_write", "charge")
            known = {row["idempotency_key"]: row for row in rows}
            repeated = [key for key in first if key not in known]
            if repeated:
                rows = await self._database.fetch(_CHARGES, repeated)
                known |= {row["idempotency_key"]: row for row in rows}
        return [_answer(known[charge.key], charge) for charge, _ in charges]

    async def refund(self, refunds: Sequence[Refund]) -> list[Settlement]:
        """Give back in one transaction what was captured and is still there; each one's answer."""
        first = {refund.key: refund for refund in refunds}
        with _unknown_if_lost():
            async with self._database.transaction() as transaction:
                await transaction.execute(
                    _INSERT_REFUNDS,
                    list(first),
                    [self._new_id() for _ in first],
                    [refund.charge_key for refund in first.values()],
                    [refund.amount for refund in first.values()],
                    [refund.currency for refund in first.values()],
                    self._now(),
                )
                rows = await transaction.fetch(_REFUNDS, list(first))
                if crash_points.hook is not None:
                    await crash_points.hook("provider.before_write", "refund")
            if crash_points.hook is not None:
                await crash_points.hook("provider.after_write", "refund")
        known = {row["idempotency_key"]: row for row in rows}
        return [
            _answer(known[refund.key], refund) if refund.key in known else NOTHING_TO_REFUND
            for refund in refunds
        ]

    async def totals(self) -> tuple[Decimal, Decimal]:
        """Everything ever captured, and everything ever given back, whatever the currency."""
        rows = await self._database.fetch(_TOTALS)
        return rows[0]["captured"], rows[0]["refunded"]

    async def charged(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """What became of the charge of so much under this key."""
        return _told(await self._database.fetch(_CHARGES, [key]), amount, currency)

    async def refunded(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """What became of the refund of so much under this key."""
        return _told(await self._database.fetch(_REFUNDS, [key]), amount, currency)


@contextmanager
def _unknown_if_lost() -> Iterator[None]:
    """A statement without an answer may have moved money: never "nothing happened" (M6)."""
    try:
        yield
    except TransientError as error:
        raise OutcomeUnknownError(f"the ledger did not answer: {error}") from error


def _answer(row: Row, asked: Charge | Refund) -> Settlement:
    if (row["amount"], row["currency"]) != (asked.amount, asked.currency):
        return KEY_REUSED
    return _outcome(row)


def _told(rows: Sequence[Row], amount: Decimal, currency: str) -> QueryOutcome:
    if not rows:
        return NotFound()
    row = rows[0]
    if (row["amount"], row["currency"]) != (amount, currency):
        booked = f"{row['amount']} {row['currency']}"
        return Unknown(f"the key stands for {booked} in place of {amount} {currency}")
    return _outcome(row)


def _outcome(row: Row) -> Delivered | Refused:
    if row["outcome"] == "DECLINED":
        return Refused("payment_refused", "Payment declined by provider")
    return Delivered(str(row["id"]).encode())
