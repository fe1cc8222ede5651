"""Money: captured once, of the right amount, given back when due, and the books agree on it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from waybill.operations.audit.merge import side_by_side
from waybill.operations.audit.rule import Books, Kind, Rule, one_after_another, statement
from waybill.operations.audit.scope import ORDER, PAYMENT, PROVIDER, Need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.operations.audit.rule import Found

_ORDERS = """
SELECT id AS order_id, status, total_amount AS total, currency FROM app.orders ORDER BY id
"""

# One row an order, however many charges and refunds it has.
_LEDGER = """
SELECT c.order_id, count(*) AS captures, sum(c.amount) AS captured,
       coalesce(sum(r.refunded), 0) AS refunded,
       string_agg(DISTINCT c.currency::text, ',') AS currency
FROM app.charges c LEFT JOIN (
    SELECT charge_key, sum(amount) AS refunded FROM app.refunds GROUP BY charge_key
) AS r ON r.charge_key = c.idempotency_key
WHERE c.outcome = 'CAPTURED' GROUP BY c.order_id ORDER BY c.order_id
"""

_PAYMENTS = """
SELECT order_id, status, amount, currency FROM app.payments ORDER BY order_id
"""

_REFUNDS = """
SELECT r.charge_key, c.order_id, c.outcome, c.amount AS charged, sum(r.amount) AS refunded,
       count(*) AS refunds, string_agg(DISTINCT r.currency::text, ',') AS currency
FROM app.refunds r LEFT JOIN app.charges c ON c.idempotency_key = r.charge_key
GROUP BY r.charge_key, c.order_id, c.outcome, c.amount, c.currency
HAVING count(*) > 1 OR c.outcome IS DISTINCT FROM 'CAPTURED'
    OR sum(r.amount) > c.amount OR bool_or(r.currency <> c.currency)
    OR bool_or(r.order_id <> c.order_id)
ORDER BY r.charge_key
"""
_REFUND_KEYS = """
SELECT idempotency_key, count(*) AS refunds, min(charge_key) AS charge_key FROM app.refunds
GROUP BY idempotency_key HAVING count(*) > 1 ORDER BY idempotency_key
"""

_OPEN_PAYMENTS = """
SELECT order_id, status, amount, currency, updated_at FROM app.payments
WHERE status IN ('PENDING', 'REFUND_PENDING') AND order_id::text <> ALL ($1::text[])
ORDER BY order_id
"""

_PAYMENT_ROWS = """
SELECT order_id, count(*) AS payments, min(payment_id::text) AS payment_id FROM app.payments
GROUP BY order_id HAVING count(*) > 1
UNION ALL
SELECT min(order_id::text)::uuid, count(*), payment_id::text FROM app.payments
GROUP BY payment_id HAVING count(*) > 1
"""
_PROVIDER_KEYS = """
SELECT order_id, count(*) AS charges, string_agg(idempotency_key, ', ') AS keys FROM app.charges
GROUP BY order_id HAVING count(*) > 1 ORDER BY order_id
"""

CAPTURED = frozenset(("SUCCEEDED", "REFUND_PENDING", "REFUNDED"))
"""Statuses of a payment whose money was captured."""


def _waits(books: Books, row: Found) -> bool:
    return str(row["order_id"]) in books.waiting


async def captured_once(books: Books) -> AsyncIterator[Found]:
    """I35: at most one capture an order at the provider, of the order's amount and currency."""
    async for order, charge in side_by_side(
        books.stream(ORDER, _ORDERS), books.stream(PROVIDER, _LEDGER), ("order_id",)
    ):
        if charge is None:
            continue
        asked = (1, order["total"], order["currency"]) if order else None
        if (charge["captures"], charge["captured"], charge["currency"]) != asked:
            yield {**dict(charge), "total": order and order["total"]}


async def books_agree(books: Books) -> AsyncIterator[Found]:
    """I36: our books and the provider's tell the same of every order, in both directions."""
    async for payment, charge in side_by_side(
        books.stream(PAYMENT, _PAYMENTS), books.stream(PROVIDER, _LEDGER), ("order_id",)
    ):
        ours = _ours(payment)
        theirs = (
            (charge["captured"], charge["refunded"], charge["currency"])
            if charge
            else (Decimal(0), Decimal(0), None)
        )
        some = payment or charge or {}
        if ours != theirs and not _waits(books, some):
            yield {
                "order_id": some["order_id"],
                "payment": payment and payment["status"],
                "amount": payment and payment["amount"],
                "captured": theirs[0],
                "refunded": theirs[1],
                "currency": theirs[2],
            }


def _ours(payment: Found | None) -> tuple[Any, Any, Any]:
    """What the provider must have, by our books: captured, refunded, currency."""
    if payment is None or payment["status"] not in CAPTURED:
        return (Decimal(0), Decimal(0), None)
    refunded = payment["amount"] if payment["status"] == "REFUNDED" else Decimal(0)
    return (payment["amount"], refunded, payment["currency"])


async def paid_as_ended(books: Books) -> AsyncIterator[Found]:
    """I37: what the provider keeps of an order is its total if it is confirmed, else nothing."""
    confirmed = books.scope.process.confirmed.status
    async for order, charge in side_by_side(
        books.stream(ORDER, _ORDERS), books.stream(PROVIDER, _LEDGER), ("order_id",)
    ):
        some: Any = order or charge or {}
        kept = charge["captured"] - charge["refunded"] if charge else Decimal(0)
        due = order["total"] if order and order["status"] == confirmed else Decimal(0)
        if kept != due and not _waits(books, some):
            yield {
                "order_id": some["order_id"],
                "status": order and order["status"],
                "due": due,
                "kept": kept,
            }


async def sums_agree(books: Books) -> AsyncIterator[Found]:
    """I38: all captures less all refunds are the value of all confirmed orders, per currency."""
    confirmed = books.scope.process.confirmed.status
    due: dict[Any, Decimal] = defaultdict(Decimal)
    kept: dict[Any, Decimal] = defaultdict(Decimal)
    async for row in books.stream(ORDER, _ORDERS):
        if row["status"] == confirmed and not _waits(books, row):
            due[row["currency"]] += row["total"]
    async for row in books.stream(PROVIDER, _LEDGER):
        if not _waits(books, row):
            kept[row["currency"]] += row["captured"] - row["refunded"]
    for currency in sorted(due.keys() | kept.keys()):
        if due[currency] != kept[currency]:
            yield {"currency": currency, "confirmed": due[currency], "kept": kept[currency]}


_BOTH = (
    "waybill psql payment -c \"SELECT * FROM app.payments WHERE order_id = '{order_id}'\"; "
    "waybill psql provider -c \"SELECT * FROM app.charges WHERE order_id = '{order_id}'\""
)
_PAYMENT = frozenset((Need.PAYMENT,))
_LEDGERS = frozenset((Need.PAYMENT, Need.PROVIDER_LEDGER))

RULES = (
    Rule(
        id="I35",
        kind=Kind.QUIESCENT,
        title="the provider captured at most once an order, of the right amount",
        needs=_LEDGERS,
        compare=captured_once,
        look_at=_BOTH,
    ),
    Rule(
        id="I36",
        kind=Kind.QUIESCENT,
        title="our payments and the provider's ledger agree, both ways",
        needs=_LEDGERS,
        compare=books_agree,
        look_at=_BOTH,
    ),
    Rule(
        id="I37",
        kind=Kind.QUIESCENT,
        title="of each order the provider keeps its total if confirmed, else nothing",
        needs=_LEDGERS,
        compare=paid_as_ended,
        look_at=_BOTH,
    ),
    Rule(
        id="I38",
        kind=Kind.QUIESCENT,
        title="captures - refunds = value of the confirmed orders, per currency",
        needs=_LEDGERS,
        compare=sums_agree,
        look_at="the orders that I37 names",
    ),
    Rule(
        id="I39",
        kind=Kind.ALWAYS,
        title="refunds are at most the capture, one a key",
        needs=_LEDGERS,
        looks={PROVIDER: one_after_another(statement(_REFUNDS), statement(_REFUND_KEYS))},
        look_at=(
            'waybill psql provider -c "SELECT * FROM app.refunds WHERE charge_key = '
            "'{charge_key}'\""
        ),
    ),
    Rule(
        id="I40",
        kind=Kind.QUIESCENT,
        title="no payment is open, no refund is owed",
        needs=_PAYMENT,
        looks={PAYMENT: statement(_OPEN_PAYMENTS, lambda books, _: [sorted(books.waiting)])},
        look_at="waybill deliveries list; " + _BOTH,
    ),
    Rule(
        id="I41",
        kind=Kind.ALWAYS,
        title="one payment and one provider key an order",
        needs=_PAYMENT,
        looks={PAYMENT: statement(_PAYMENT_ROWS), PROVIDER: statement(_PROVIDER_KEYS)},
        look_at=_BOTH,
    ),
)
