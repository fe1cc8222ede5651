"""The consumer of R3 on Waybill's library: the same effect as orm_consumer, a batch a transaction.

Runs until the topic's backlog of `--messages` is done, and prints seconds and CPU seconds as a JSON
line. Messages come without headers of ours, as the baseline's do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from random import SystemRandom
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging import EventType, JsonCodec, MessagingService
from waybill.messaging.adapters.kafka.log import KafkaLog
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.adapters.postgres.partition_positions import PostgresPartitionPositions
from waybill.messaging.runtime.consumer import Consumer
from waybill.messaging.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "effects"
LOCK = "SELECT FROM products WHERE id = ANY($1) ORDER BY id FOR UPDATE"
TAKE = """
UPDATE products AS p SET available = available - n.quantity, reserved = reserved + n.quantity
FROM unnest($1::uuid[], $2::bigint[]) AS n (id, quantity) WHERE p.id = n.id AND p.id = ANY($1)
"""
RESERVE = """
INSERT INTO reservations (order_id, product_id, quantity)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[])
"""


class Ordered(msgspec.Struct, frozen=True):
    """The message."""

    id: UUID
    order_id: UUID
    product_id: UUID
    quantity: int


class Reserved(msgspec.Struct, frozen=True, rename="camel"):
    """What is told."""

    order_id: UUID


class Effects:
    """The handler, which counts what is committed."""

    def __init__(self, messages: int) -> None:
        self.finished = asyncio.Event()
        self.done = 0
        self._messages = messages
        self._began = self._cpu = 0.0
        self._first = 0

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Take stock, reserve, tell; in the unit that also holds inbox and positions."""
        if not self._began:
            self._began, self._cpu = time.perf_counter(), time.process_time()
            self._first = len(received)
        events = [each.event for each in received if isinstance(each.event, Ordered)]
        taken: Counter[UUID] = Counter()
        for event in events:
            taken[event.product_id] += event.quantity
        await unit.transaction.fetch(LOCK, sorted(taken))
        await unit.transaction.execute(TAKE, list(taken), list(taken.values()))
        await unit.transaction.execute(
            RESERVE,
            [event.order_id for event in events],
            [event.product_id for event in events],
            [event.quantity for event in events],
        )
        for event in events:
            unit.publish(Reserved(event.order_id), key=str(event.order_id))
        unit.on_commit(lambda: self._committed(len(events)))

    def _committed(self, count: int) -> None:
        self.done += count
        if self.done >= self._messages:
            self.finished.set()

    def figures(self) -> dict[str, float]:
        """Effects behind the first batch, and what they took."""
        return {
            "effects": self.done - self._first,
            "seconds": time.perf_counter() - self._began,
            "cpu_seconds": time.process_time() - self._cpu,
        }


async def run(options: argparse.Namespace) -> None:
    """Consume the backlog."""
    codec = JsonCodec(
        [
            EventType(Ordered, topic=options.topic, name="Ordered"),
            EventType(Reserved, topic="reserved", name="Reserved"),
        ]
    )
    service = MessagingService("effects", url=options.url, codec=codec, notify=False)
    await service.migrate()
    await service.connect()
    effects = Effects(options.messages)
    positions = PostgresPartitionPositions(service.ports.database)
    consumer = Consumer(
        CONSUMER,
        log=KafkaLog(KafkaSettings(brokers=options.bootstrap), positions),
        topics=[options.topic],
        types=[Ordered],
        handler=effects.handle,
        ports=service.ports,
    )
    supervisor = Supervisor(service.ports.clock, SystemRandom().random)
    supervisor.start(consumer)
    await effects.finished.wait()
    sys.stdout.write(json.dumps(effects.figures()) + "\n")
    sys.stdout.flush()
    await supervisor.stop(within_seconds=10)
    await service.stop()


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--messages", type=int, required=True)
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
