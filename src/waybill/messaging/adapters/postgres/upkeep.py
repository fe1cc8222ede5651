"""Upkeep of the outbox: spare partitions ahead, whole partitions dropped behind (protocol O6, D5).

Runs as the schema's owner. Every turn takes up what an interrupted one left. Nothing here blocks
an insert; a row that a registered reader has not passed is never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.adapters.postgres.alarms import TRANSACTION_SECONDS_MAX, Alarms
from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.adapters.postgres.partitions import (
    Connection,
    Partition,
    create_spares,
    last_seq,
    partitions,
)
from waybill.messaging.adapters.postgres.schema import DEFAULT_PARTITION_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from waybill.messaging.core.ports import Row

UPKEEP_LOCK = 1_462_846_542
"""Advisory lock of the session that keeps the outbox up; another one's turn does nothing."""

LOCK_META = "SELECT detaching FROM messaging.outbox_meta FOR UPDATE"

# The highest row of each lane, and the readers that have not passed it. An idle lane's position
# never moves, so the partition's bound says nothing (protocol D5). created_at ascends with seq in
# a lane, near enough for a retention. In relay mode the relay is one more of them (protocol O6).
HELD = """
WITH high AS (
    SELECT lane, top.seq, top.created_at
    FROM generate_series(0, 16) AS lane, LATERAL (
        SELECT seq, created_at FROM {table} AS rows WHERE rows.lane = lane.lane
        ORDER BY seq DESC LIMIT 1
    ) AS top
)
SELECT (SELECT max(created_at) FROM high) AS newest,
       coalesce((SELECT max(created_at) FROM high)
                > coalesce($2, clock_timestamp()) - make_interval(secs => $1), false) AS young,
       ARRAY(SELECT DISTINCT consumer FROM messaging.outbox_reader AS reader, high
             WHERE reader.positions[high.lane + 1] < high.seq
             UNION SELECT 'relay' FROM messaging.outbox_meta AS meta, messaging.outbox_lane AS sent
             JOIN high USING (lane) WHERE meta.mode <> 'direct' AND sent.position < high.seq
             ORDER BY 1) AS behind
"""

DETACHED = """
SELECT relname AS name FROM pg_class
WHERE relnamespace = 'messaging'::regnamespace AND relkind = 'r' AND NOT relispartition
  AND relname ~ '^outbox_[0-9]+$'
"""


@dataclass(frozen=True)
class UpkeepSettings:
    """How large partitions are, and how long messages stay after every reader has passed them."""

    outbox_partition_rows: int = DEFAULT_PARTITION_ROWS
    outbox_retention_seconds: float = 7 * 86_400.0
    lock_timeout_seconds: float = 2.0
    transaction_seconds_max: float = TRANSACTION_SECONDS_MAX
    """A transaction that is open for longer is alarmed (protocol E4)."""


@dataclass(frozen=True)
class UpkeepTurn:
    """What a turn did. `waiting_for`: readers that hold back a partition past its retention.

    `alarms`: what an operator should know of (protocol D4, E4); it was logged.
    """

    created: int = 0
    dropped: int = 0
    waiting_for: tuple[str, ...] = ()
    busy: bool = False
    """Another session keeps the outbox up, or a long transaction (a dump) delays the drop."""
    alarms: tuple[str, ...] = ()


class OutboxUpkeep:
    """Call `turn` every few seconds; it opens and closes a connection of its own."""

    def __init__(self, owner_url: str, settings: UpkeepSettings | None = None) -> None:
        self._url = owner_url
        self._settings = settings or UpkeepSettings()
        self._alarms = Alarms(self._settings.transaction_seconds_max)

    async def turn(self, now: datetime | None = None) -> UpkeepTurn:
        """One round. May be repeated and interrupted. Raises TransientError.

        `now` is what retention counts from; not given, it is the database's clock.
        """
        with translated():
            connection = await asyncpg.connect(
                self._url,
                server_settings={
                    "application_name": "waybill upkeep",
                    "lock_timeout": str(round(self._settings.lock_timeout_seconds * 1000)),
                },
            )
            try:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", UPKEEP_LOCK):
                    return UpkeepTurn(busy=True)
                created = await create_spares(connection, self._settings.outbox_partition_rows)
                alarms = await self._alarms.look(connection)
                turn = await self._retire_all(connection, created, now)
                return replace(turn, alarms=alarms)
            finally:
                await connection.close()

    async def _retire_all(
        self, connection: Connection, created: int, now: datetime | None
    ) -> UpkeepTurn:
        dropped = 0
        behind: tuple[str, ...] = ()
        try:
            dropped += await self._resume(connection, now)
            for partition in await partitions(connection):
                if partition.upper > await last_seq(connection) + 1:
                    break
                droppable, behind = await self._mark(connection, partition, now)
                if not droppable:
                    break
                await detach(connection, partition)
                dropped += await self._settle(connection, partition, now)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            return UpkeepTurn(created, dropped, behind, busy=True)
        return UpkeepTurn(created, dropped, behind)

    async def _resume(self, connection: Connection, now: datetime | None) -> int:
        """Finish what an interrupted turn began; how many partitions that dropped."""
        for partition in await partitions(connection):
            if partition.pending:
                await connection.execute(
                    f"ALTER TABLE messaging.outbox DETACH PARTITION messaging.{partition.name} "
                    "FINALIZE"
                )
        rows = await connection.fetch("SELECT detaching FROM messaging.outbox_meta")
        upper = rows[0]["detaching"]
        if upper is None:
            return 0
        dropped = 0
        for row in await connection.fetch(DETACHED):
            lower = int(row["name"].removeprefix("outbox_"))
            dropped += await self._settle(connection, Partition(row["name"], lower, upper), now)
        return dropped

    async def _mark(
        self, connection: Connection, partition: Partition, now: datetime | None = None
    ) -> tuple[bool, tuple[str, ...]]:
        """Announce the drop if D5 holds, so that no reader registers below it meanwhile."""
        async with connection.transaction():
            await connection.fetch(LOCK_META)
            young, behind, _ = await self._held(connection, partition, now)
            droppable = not young and not behind
            await connection.fetch(
                "UPDATE messaging.outbox_meta SET detaching = $1",
                partition.upper if droppable else None,
            )
        return droppable, () if young else behind

    async def _settle(
        self, connection: Connection, partition: Partition, now: datetime | None
    ) -> int:
        """Drop the detached partition if D5 still holds, else attach it again."""
        name = f"messaging.{partition.name}"
        async with connection.transaction():
            await connection.fetch(LOCK_META)
            young, behind, newest = await self._held(connection, partition, now)
            if young or behind:
                await connection.execute(
                    f"ALTER TABLE messaging.outbox ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ({partition.lower}) TO ({partition.upper})"
                )
                await connection.execute("UPDATE messaging.outbox_meta SET detaching = NULL")
                return 0
            await connection.fetch(
                "UPDATE messaging.outbox_meta SET detaching = NULL, horizon = $1, "
                "horizon_at = greatest(horizon_at, $2)",
                partition.upper,
                newest,
            )
            await connection.execute(f"DROP TABLE {name}")
        return 1

    async def _held(
        self, connection: Connection, partition: Partition, now: datetime | None
    ) -> tuple[bool, tuple[str, ...], object]:
        statement = HELD.format(table=f"messaging.{partition.name}")
        seconds = self._settings.outbox_retention_seconds
        rows: Sequence[Row] = await connection.fetch(statement, seconds, now)
        return rows[0]["young"], tuple(rows[0]["behind"]), rows[0]["newest"]


async def detach(connection: Connection, partition: Partition) -> None:
    """Take the partition out without stopping inserts; interrupted, it stays pending."""
    await connection.execute(
        f"ALTER TABLE messaging.outbox DETACH PARTITION messaging.{partition.name} CONCURRENTLY"
    )
