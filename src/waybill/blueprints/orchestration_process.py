"""An order of seed 004 as the orchestrator decides it, and as the order service follows it (M8)."""

from __future__ import annotations

from waybill.blueprints.orchestration_http import STATUSES
from waybill.commerce.contracts import Reason
from waybill.commerce.process import Ending, Process, Step

PENDING, PROCESSING, PAID, CONFIRMED, FAILED = STATUSES
LIFECYCLE = {
    PENDING: frozenset((PROCESSING,)),
    PROCESSING: frozenset((PAID, FAILED)),
    PAID: frozenset((CONFIRMED, FAILED)),
    CONFIRMED: frozenset[str](),
    FAILED: frozenset[str](),
}

PROCESS = Process(
    name="orchestration",
    steps=(
        Step(
            name="taken",
            ask="OrderCreated",
            done="OrderCreated",
            refused="",
            refusal="",
            status=PROCESSING,
            outside_effect=False,
        ),
        Step(
            name="payment",
            ask="OrderCreated",
            done="PaymentSucceeded",
            refused="PaymentFailed",
            refusal=Reason.PAYMENT_REFUSED,
            undo="RefundRequested",
            undone="PaymentRefunded",
            status=PAID,
        ),
        # Asked by OrderCreated too: payment repeats its answer, and that asks inventory (M3).
        Step(
            name="stock",
            ask="OrderCreated",
            done="StockReserved",
            refused="StockRejected",
            refusal=Reason.STOCK_UNAVAILABLE,
            undo="StockReleaseRequested",
            undone="StockReleased",
        ),
    ),
    initial=PENDING,
    confirmed=Ending(CONFIRMED, "OrderConfirmed"),
    failed=Ending(FAILED, "OrderCancelled"),
    lifecycle=LIFECYCLE,
    taken="OrderCreated",
)
"""The orchestrator's."""


def _told(name: str, done: str, status: str | None, refused: str = "") -> Step:
    return Step(
        name=name,
        ask="OrderCreated",
        done=done,
        refused=refused,
        refusal=Reason.STOCK_UNAVAILABLE,
        status=status,
        outside_effect=False,
    )


FOLLOWED = Process(
    name=PROCESS.name,
    steps=(
        _told("taken", "OrderProcessing", PROCESSING),
        _told("payment", "OrderPaid", PAID),
        _told("completion", "OrderConfirmed", None, "OrderCancelled"),
    ),
    initial=PENDING,
    confirmed=PROCESS.confirmed,
    failed=PROCESS.failed,
    lifecycle=LIFECYCLE,
    taken="OrderProcessing",
    follows=True,
    wish="OrderCancelRequested",
)
"""The same as the order service sees it."""
