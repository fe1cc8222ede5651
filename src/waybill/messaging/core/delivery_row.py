"""A delivery as a row, and what settling or postponing writes: the same in every database (M6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.outbox_row import as_uuid
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.core.ports import Delivery, Park, Retry, Settlement

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.ports import Row

REASON_CHARS_MAX = 2_000

DELIVERY = (
    "id, kind, key, request, not_after, attempts, ask_first, cancelled_at, verdict, "
    "correlation_id, causation_id, traceparent"
)

_settlement = msgspec.json.Decoder(Delivered | Refused)


def place(delivery: Delivery) -> tuple[str, str]:
    """Deliveries are inserted and locked in this order (protocol C3)."""
    return (delivery.kind, delivery.key)


def to_delivery(row: Row) -> Delivery:
    """The delivery of a row with the columns of DELIVERY."""
    verdict = row["verdict"]
    return Delivery(
        id=as_uuid(row["id"]),
        kind=row["kind"],
        key=row["key"],
        request=row["request"],
        not_after=row["not_after"],
        attempts=row["attempts"],
        ask_first=bool(row["ask_first"]),
        cancelled=row["cancelled_at"] is not None,
        verdict=None if verdict is None else _settlement.decode(verdict),
        correlation_id=row["correlation_id"],
        causation_id=None if row["causation_id"] is None else as_uuid(row["causation_id"]),
        traceparent=row["traceparent"],
    )


def settlement_of(outcome: bytes | None) -> Settlement | None:
    """The final outcome that a row holds."""
    return None if outcome is None else _settlement.decode(outcome)


def state_of(settlement: Settlement) -> str:
    """The state in which an outcome leaves a delivery."""
    return "DELIVERED" if isinstance(settlement, Delivered) else "REFUSED"


def postponed_row(
    delivery: Delivery, what: Retry | Park
) -> tuple[UUID, str, int, bool, float, str]:
    """Id, state, what the try counts, ask_first, delay, and the reason as a database takes it."""
    reason = what.reason[:REASON_CHARS_MAX].replace("\x00", "\ufffd")
    reason = reason.encode(errors="replace").decode()
    if isinstance(what, Park):
        return (delivery.id, "PARKED", 1, True, 0.0, reason)
    return (
        delivery.id,
        "PENDING",
        int(what.counts),
        what.ask_first,
        float(what.delay_seconds),
        reason,
    )
