"""Revenue by hour, from the platform's own events, without a change to the platform.

Run it: DATABASE_URL=postgresql://… ORDER_SOURCE_URL="$(waybill url order --role reader)" \
    python analytics.py
"""

import asyncio
import os
from decimal import Decimal

import msgspec

from waybill.messaging import EventType, JsonCodec, MessageUnit, MessagingService, SourceSpec

TABLES = (
    "CREATE TABLE IF NOT EXISTS placed (order_id uuid PRIMARY KEY, total numeric NOT NULL)",
    "CREATE TABLE IF NOT EXISTS revenue (hour timestamptz PRIMARY KEY, total numeric NOT NULL)",
)


class Placed(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str
    total_amount: Decimal


class Confirmed(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str


class OrderCreated(msgspec.Struct, frozen=True):
    payload: Placed


class OrderConfirmed(msgspec.Struct, frozen=True):
    payload: Confirmed


def make_service(url: str, source: str) -> MessagingService:
    """Consumes order-events into two tables of its own."""
    types = [
        EventType(t, topic="order-events", name=t.__name__) for t in (OrderCreated, OrderConfirmed)
    ]
    orders = SourceSpec(source, frozenset({"order-events"}))
    messaging = MessagingService(
        "analytics", url=url, codec=JsonCodec(types), sources={"order-service": orders}
    )

    @messaging.handler("analytics", OrderCreated)
    async def placed(event: OrderCreated, unit: MessageUnit) -> None:
        await unit.execute(
            "INSERT INTO placed VALUES ($1, $2)", event.payload.order_id, event.payload.total_amount
        )

    @messaging.handler("analytics", OrderConfirmed)
    async def confirmed(event: OrderConfirmed, unit: MessageUnit) -> None:
        await unit.execute(
            """
            INSERT INTO revenue
            SELECT date_trunc('hour', $2::timestamptz), total FROM placed WHERE order_id = $1
            ON CONFLICT (hour) DO UPDATE SET total = revenue.total + excluded.total
            """,
            event.payload.order_id,
            unit.now,
        )

    return messaging


async def main() -> None:
    """Consume until interrupted."""
    messaging = make_service(os.environ["DATABASE_URL"], os.environ["ORDER_SOURCE_URL"])
    await messaging.migrate()
    await messaging.connect()
    async with messaging.unit() as unit:
        for table in TABLES:
            await unit.execute(table)
    messaging.start()
    try:
        await asyncio.Event().wait()
    finally:
        await messaging.stop()


if __name__ == "__main__":
    asyncio.run(main())
