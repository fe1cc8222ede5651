"""Where something of a customer may stand, by service: data that both commands go by.

`$1` are the orders' ids as uuid[], `$2` as texts (bare, and as the document writes them), `$3`
what is known of the person and cannot be a word of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bytes", "json", "text"]


@dataclass(frozen=True)
class Place:
    """Columns of a table, by kind; `key` names a row, `rows` are those of the customer."""

    table: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, Kind], ...]
    rows: str


def _holds(column: str) -> str:
    return (
        f"EXISTS (SELECT FROM unnest($3::text[]) AS each "
        f"WHERE position(convert_to(each, 'UTF8') IN {column}) > 0)"
    )


MESSAGES: Final = (
    Place(
        "messaging.outbox",
        ("lane", "seq"),
        (("payload", "bytes"), ("correlation_id", "text")),
        f"aggregateid = ANY($2) OR {_holds('payload')}",
    ),
    Place(
        "messaging.dead_letters",
        ("id",),
        (
            ("value", "bytes"),
            ("headers", "json"),
            ("correlation_id", "text"),
            ("error_message", "text"),
            ("stacktrace", "text"),
            ("verdict_reason", "text"),
        ),
        f"split_part(key, ':', 1) = ANY($2) OR {_holds('value')}",
    ),
    Place(
        "messaging.deliveries",
        ("id",),
        (
            ("request", "bytes"),
            ("correlation_id", "text"),
            ("outcome", "bytes"),
            ("verdict", "bytes"),
            ("reason", "text"),
            ("verdict_reason", "text"),
        ),
        f"split_part(key, ':', 1) = ANY($2) OR {_holds('request')}",
    ),
)
"""Of every service that has messages."""

OWN: Final = {
    "order": (
        Place(
            "app.orders",
            ("id",),
            (
                ("detail", "text"),
                ("timeline", "json"),
                ("response", "bytes"),
                ("correlation_id", "text"),
            ),
            "id = ANY($1)",
        ),
    ),
    "inventory": (
        Place("app.reservations", ("order_id",), (("detail", "text"),), "order_id = ANY($1)"),
    ),
    "orchestrator": (
        Place(
            "app.sagas",
            ("order_id",),
            (("detail", "text"), ("steps", "json"), ("correlation_id", "text")),
            "order_id = ANY($1)",
        ),
    ),
}
"""Of one service alone."""

WITHOUT_MESSAGES: Final = frozenset({"provider"})

_EVENTS: Final = """
SELECT id, type, topic, occurred_at, app.json_or_null(payload) AS payload
FROM messaging.outbox WHERE aggregateid = ANY($2) ORDER BY seq
"""
_LETTERS: Final = """
SELECT id, consumer, topic, type, created_at, encode(value, 'escape') AS value
FROM messaging.dead_letters WHERE split_part(key, ':', 1) = ANY($2) ORDER BY created_at, id
"""
_CALLS: Final = """
SELECT kind, state, reason, created_at, settled_at, convert_from(request, 'UTF8')::jsonb AS request
FROM messaging.deliveries WHERE split_part(key, ':', 1) = ANY($2) ORDER BY created_at, id
"""

SHOWN: Final[dict[str, dict[str, str]]] = {
    "order": {
        "orders": """
SELECT id, customer_id, status, reason, detail, total_amount, currency, lines, particulars,
       timeline, route, idempotency_key, correlation_id, created_at, updated_at
FROM app.orders WHERE id = ANY($1) ORDER BY id""",
        "orderEvents": _EVENTS,
    },
    "payment": {
        "payments": """
SELECT order_id, payment_id, status, amount, currency, reason, detail, refund_id, refunded_at,
       created_at, updated_at
FROM app.payments WHERE order_id = ANY($1) ORDER BY order_id""",
        "paymentEvents": _EVENTS,
    },
    "inventory": {
        "reservations": """
SELECT order_id, status, quantities, reason, detail, created_at, updated_at
FROM app.reservations WHERE order_id = ANY($1) ORDER BY order_id""",
        "inventoryEvents": _EVENTS,
    },
    "notification": {
        "notifications": """
SELECT order_id, kind, message, status, detail, created_at, updated_at
FROM app.notifications WHERE order_id = ANY($1) ORDER BY order_id, kind""",
    },
    "orchestrator": {
        "sagas": """
SELECT order_id, status, reason, detail, steps, correlation_id, created_at, updated_at
FROM app.sagas WHERE order_id = ANY($1) ORDER BY order_id""",
        "orchestratorEvents": _EVENTS,
    },
}
"""What an export has of each service's orders, by its name in the export."""

OF_EVERY_SERVICE: Final = {"DeadLetters": _LETTERS, "Calls": _CALLS}
"""The same of each service's messages; the service's name stands before."""
