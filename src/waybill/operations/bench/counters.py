"""What the platform has done so far: transactions, WAL, rows, statements, CPU.

WAL and transactions are read from the server's own positions and are exact at once. Row counters
are late by up to ten seconds (pg_stat), so they are read for themselves after a pause.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Self

import asyncpg

from waybill.operations.bench.processes import postgres_usage, python_usage
from waybill.operations.metrics import metric

if TYPE_CHECKING:
    from waybill.operations.bench.target import Target

STATEMENTS = "process_database_statements_total"
# A transaction gets a number when it first writes: the difference is how many have written.
_POSITIONS = """
SELECT pg_current_wal_insert_lsn() - '0/0' AS wal,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction
"""
_MESSAGES = """
SELECT coalesce(sum(last_value), 0)::bigint FROM pg_sequences
WHERE schemaname = 'messaging' AND sequencename = 'outbox_seq'
"""
_ROWS = """
SELECT coalesce(sum(n_tup_ins), 0)::bigint AS inserted,
       coalesce(sum(n_tup_upd), 0)::bigint AS updated,
       coalesce(sum(n_tup_hot_upd), 0)::bigint AS updated_in_place,
       coalesce(sum(n_tup_del), 0)::bigint AS deleted
FROM pg_stat_user_tables
"""


class Work(NamedTuple):
    """Counts since the platform (or its server) began."""

    at: float
    """`time.perf_counter` of the reading."""
    statements: float
    commits: int
    """Transactions that wrote."""
    wal_bytes: int
    python_cpu_seconds: float
    postgres_cpu_seconds: float
    load_cpu_seconds: float
    """Of this process: the load generator and everything else that measures."""
    messages: int = 0
    """Written into outboxes."""


class Rows(NamedTuple):
    """Row versions since the server's statistics began, all databases and tables together."""

    inserted: int
    updated: int
    updated_in_place: int
    """Of the updated: HOT, no index was touched."""
    deleted: int


class Counters:
    """Reads both. Holds a connection to each database; close it, or use `async with`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections: list[asyncpg.Connection] = []

    async def __aenter__(self) -> Self:
        try:
            for url in self._target.owner_urls.values():
                self._connections.append(await asyncpg.connect(url))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.close()

    async def work(self) -> Work:
        """The counts that are exact at this moment."""
        target = self._target
        statements = 0.0
        for port in target.process_ports:
            statements += await metric(target.host, port, STATEMENTS)
        row = await self._connections[0].fetchrow(_POSITIONS)
        messages = 0
        for connection in self._connections:
            messages += await connection.fetchval(_MESSAGES)
        return Work(
            at=time.perf_counter(),
            statements=statements,
            commits=row["next_transaction"],
            wal_bytes=int(row["wal"]),
            python_cpu_seconds=python_usage(target.python()).cpu_seconds,
            postgres_cpu_seconds=postgres_usage(target.postgres()).cpu_seconds,
            load_cpu_seconds=time.process_time(),
            messages=messages,
        )

    async def rows(self) -> Rows:
        """The row counters, as far as the backends have reported them."""
        found = [await connection.fetchrow(_ROWS) for connection in self._connections]
        return Rows(*(sum(row[name] for row in found) for name in Rows._fields))
