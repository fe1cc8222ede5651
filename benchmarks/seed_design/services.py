"""What seed 003's services do with one event, each in a transaction of its own.

Plain statements through psycopg, prepared: less work than the object mapper that the design has.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    Event = dict[str, Any]
    Handle = Callable[[psycopg.Connection, Event], None]

PRICE: Final = "19.99"
_CLAIM = "INSERT INTO processed_events (event_id) VALUES (%s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True)
class Service:
    """Its topics, and what it does with each type of event on them."""

    topics: tuple[str, ...]
    handles: Mapping[str, Handle]


def place(connection: psycopg.Connection, products: list[str]) -> None:
    """What POST does: the order, its lines, its event."""
    order_id = uuid4()
    with connection.transaction():
        connection.execute(
            "INSERT INTO orders (id, idempotency_key, request_hash, status, total_amount) "
            "VALUES (%s, %s, %s, 'PENDING', %s)",
            (order_id, str(uuid4()), "0" * 64, PRICE),
        )
        for product in products:
            connection.execute(
                "INSERT INTO order_items (order_id, product_id, quantity, unit_price) "
                "VALUES (%s, %s, 1, %s)",
                (order_id, product, PRICE),
            )
        items = [{"productId": product, "quantity": 1, "unitPrice": PRICE} for product in products]
        _publish(connection, "order-events", order_id, "OrderCreated", {"items": items})


def apply(connection: psycopg.Connection, service: Service, event: Event) -> None:
    """One event in one transaction, if it was not processed before."""
    handle = service.handles.get(event["eventType"])
    if handle is None:
        return
    with connection.transaction():
        if connection.execute(_CLAIM, (event["eventId"],)).rowcount:
            handle(connection, event)


def _publish(
    connection: psycopg.Connection, topic: str, order_id: UUID, kind: str, payload: Event
) -> None:
    event_id = uuid4()
    envelope = {
        "eventId": str(event_id),
        "eventType": kind,
        "occurredAt": time.time(),
        "correlationId": str(order_id),
        "causationId": None,
        "version": 1,
        "payload": {"orderId": str(order_id), **payload},
    }
    connection.execute(
        "INSERT INTO outbox_events (id, topic, aggregate_id, event_type, payload) "
        "VALUES (%s, %s, %s, %s, %s)",
        (event_id, topic, order_id, kind, json.dumps(envelope)),
    )


def _reserve(connection: psycopg.Connection, event: Event) -> None:
    order_id, items = UUID(event["payload"]["orderId"]), event["payload"]["items"]
    for item in sorted(items, key=lambda item: str(item["productId"])):
        connection.execute(
            "SELECT available FROM products WHERE id = %s FOR UPDATE", (item["productId"],)
        )
        connection.execute(
            "UPDATE products SET available = available - %s, reserved = reserved + %s "
            "WHERE id = %s",
            (item["quantity"], item["quantity"], item["productId"]),
        )
        connection.execute(
            "INSERT INTO reservations VALUES (%s, %s, %s, 'RESERVED')",
            (order_id, item["productId"], item["quantity"]),
        )
    _publish(connection, "inventory-events", order_id, "StockReserved", {"totalAmount": PRICE})


def _pay(connection: psycopg.Connection, event: Event) -> None:
    order_id = UUID(event["payload"]["orderId"])
    connection.execute(
        "INSERT INTO payments (id, order_id, amount, status) VALUES (%s, %s, %s, 'COMPLETED')",
        (uuid4(), order_id, event["payload"]["totalAmount"]),
    )
    _publish(connection, "payment-events", order_id, "PaymentSucceeded", {"amount": PRICE})


def _move(connection: psycopg.Connection, order_id: UUID, status: str) -> None:
    connection.execute("SELECT status FROM orders WHERE id = %s FOR UPDATE", (order_id,))
    connection.execute(
        "UPDATE orders SET status = %s, version = version + 1, updated_at = now() WHERE id = %s",
        (status, order_id),
    )


def _stock_reserved(connection: psycopg.Connection, event: Event) -> None:
    _move(connection, UUID(event["payload"]["orderId"]), "STOCK_RESERVED")


def _confirm(connection: psycopg.Connection, event: Event) -> None:
    order_id = UUID(event["payload"]["orderId"])
    _move(connection, order_id, "CONFIRMED")
    _publish(connection, "order-events", order_id, "OrderConfirmed", {})


def _notify(connection: psycopg.Connection, event: Event) -> None:
    order_id = UUID(event["payload"]["orderId"])
    connection.execute(
        "INSERT INTO notifications (id, order_id, message) VALUES (%s, %s, 'confirmed')",
        (uuid4(), order_id),
    )


SERVICES: Final[dict[str, Service]] = {
    "order": Service(
        ("inventory-events", "payment-events"),
        {"StockReserved": _stock_reserved, "PaymentSucceeded": _confirm},
    ),
    "inventory": Service(("order-events",), {"OrderCreated": _reserve}),
    "payment": Service(("inventory-events",), {"StockReserved": _pay}),
    "notification": Service(("order-events",), {"OrderConfirmed": _notify}),
}
