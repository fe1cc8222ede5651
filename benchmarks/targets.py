"""What each ratio should be: "must" on two cores, and the moonshot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line of the table. `at_most`: the figure must not exceed it, else not fall below."""

    title: str
    must: float
    moonshot: float
    unit: str = "x"
    at_most: bool = False

    def verdict(self, value: float) -> str:
        """How far the figure gets."""
        if self._reached(value, self.moonshot):
            return "moonshot"
        return "must" if self._reached(value, self.must) else "missed"

    def _reached(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


TARGETS = {
    "R1": Target("relay events/s ÷ a 500 ms, LIMIT 100, send-and-wait relay", 75, 250),
    "R2": Target("commit to broker, p50 at 50 events/s: that relay ÷ ours", 40, 100),
    "R3": Target("consumer effects/s and core ÷ FastStream + SQLAlchemy ORM", 15, 40),
    "R4": Target("accepted orders/s over HTTP ÷ pgbench single-row commits/s", 0.15, 0.5),
    "R5": Target("confirmed orders/s, HTTP in ÷ pgbench single-row commits/s", 0.08, 0.15),
    "R6": Target("confirmed orders/s on Kafka ÷ the design of seed 003", 15, 30),
    "R7": Target("confirmed orders/s, HTTP in ÷ the same saga as DBOS workflows", 10, 30),
    "R8 relay": Target("relay events/s ÷ raw librdkafka produce rate, same bytes", 0.2, 0.5),
    "R8 consumer": Target("consumer effects/s ÷ raw librdkafka consume rate", 0.1, 0.25),
    "R9 flushes": Target("WAL flushes an order: seed design ÷ ours, half load", 20, 100),
    "R9 rows": Target("row versions an order: seed design ÷ ours, half load", 1.2, 1.8),
    "R10": Target("confirmed orders/s with synchronous_commit on ÷ off", 0.85, 0.97),
    "R11": Target("confirmed orders/s, one hot SKU ÷ uniform SKUs", 0.8, 1.0),
    "R12 undecodable": Target("confirmed orders/s, 1 % undecodable messages ÷ clean", 0.95, 0.98),
    "R12 failing": Target("confirmed orders/s, 0.1 % failing in the database ÷ clean", 0.7, 0.9),
    "R13 reader": Target("messages read/s under a held snapshot ÷ before it", 0.95, 1.0),
    "R13 relay": Target("relay events/s under a held snapshot ÷ before it", 0.95, 1.0),
    "R13 dead": Target("dead tuples in the outboxes after it", 0, 0, unit="", at_most=True),
    "R14 outboxes": Target(
        "POST to CONFIRMED, p99 at half of the maximum load, one process on its outboxes",
        *(150, 50),
        unit=" ms",
        at_most=True,
    ),
    "R14 Kafka": Target(
        "POST to CONFIRMED, p99 at half of the maximum load, a process a service on Kafka",
        *(150, 50),
        unit=" ms",
        at_most=True,
    ),
    "R15 outboxes": Target("orders/s of a backlog ÷ steady maximum", 0.9, 1.2),
    "R15 memory, outboxes": Target(
        "memory in the second half of that ÷ in the first", 1.1, 1.0, at_most=True
    ),
    "R15 Kafka": Target("orders/s of a backlog on Kafka ÷ steady maximum", 0.9, 1.2),
    "R15 memory, Kafka": Target(
        "memory in the second half of that ÷ in the first", 1.1, 1.0, at_most=True
    ),
    "R16": Target("confirmed orders/s on the large tables ÷ on 10^4 orders", 0.8, 0.95),
}
