"""FastStream on confluent-kafka, SQLAlchemy's object mapper on asyncpg, one transaction a message.

Inbox row, stock, reservation and outbox row in one transaction, acknowledged after it. Runs until
the topic's backlog of `--messages` is done, and prints seconds and CPU seconds as a JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from uuid import UUID, uuid4

from faststream import AckPolicy
from faststream.confluent import KafkaBroker
from pydantic import BaseModel
from sqlalchemy import BigInteger
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

POOL = 10


class Base(DeclarativeBase):
    """The tables."""


class Product(Base):
    """Stock."""

    __tablename__ = "products"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    available: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger)


class Processed(Base):
    """The inbox."""

    __tablename__ = "processed"
    id: Mapped[UUID] = mapped_column(primary_key=True)


class Reservation(Base):
    """What was taken for whom."""

    __tablename__ = "reservations"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    product_id: Mapped[UUID]
    quantity: Mapped[int]


class OutboxEvent(Base):
    """The outbox."""

    __tablename__ = "outbox_events"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    topic: Mapped[str]
    key: Mapped[str]
    type: Mapped[str]
    payload: Mapped[bytes]


class Ordered(BaseModel):
    """The message."""

    id: UUID
    order_id: UUID
    product_id: UUID
    quantity: int


async def run(options: argparse.Namespace) -> None:
    """Consume the backlog."""
    engine = create_async_engine(options.url, pool_size=POOL)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    broker = KafkaBroker(options.bootstrap, logger=None)
    finished = asyncio.Event()
    began = cpu = 0.0
    done = 0

    @broker.subscriber(  # type: ignore[untyped-decorator] # FastStream is in the other environment
        options.topic,
        group_id="orm-consumer",
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def reserve(event: Ordered) -> None:
        nonlocal began, cpu, done
        if not done:
            began, cpu = time.perf_counter(), time.process_time()
        async with sessions.begin() as session:
            if await session.get(Processed, event.id) is not None:
                return
            session.add(Processed(id=event.id))
            product = await session.get(Product, event.product_id, with_for_update=True)
            if product is not None:
                product.available -= event.quantity
                product.reserved += event.quantity
            session.add(
                Reservation(
                    order_id=event.order_id, product_id=event.product_id, quantity=event.quantity
                )
            )
            payload = json.dumps({"orderId": str(event.order_id)}).encode()
            session.add(
                OutboxEvent(
                    id=uuid4(),
                    topic="reserved",
                    key=str(event.order_id),
                    type="Reserved",
                    payload=payload,
                )
            )
        done += 1
        if done >= options.messages:
            finished.set()

    await broker.start()
    await finished.wait()
    figures = {
        "effects": done - 1,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    await broker.stop()
    await engine.dispose()


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="postgresql+asyncpg://…")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--messages", type=int, required=True)
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
