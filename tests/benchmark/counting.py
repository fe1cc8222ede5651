"""Counts what the platform asks of PostgreSQL: the driver's own query log, and the server's rows.

No clock is read. What an idle platform also says (polls, leases, upkeep) is nobody's order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from waybill.messaging.adapters.postgres import riding

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from waybill.platform.embedded import EmbeddedPostgres

ROWS = """
SELECT coalesce(sum(n_tup_ins), 0)::int AS inserted, coalesce(sum(n_tup_upd), 0)::int AS updated
FROM pg_stat_user_tables WHERE relname <> ALL($1)
"""
BOOKKEEPING = ["consumer_source", "outbox_reader", "outbox_meta", "schedule", "schema_version"]
"""Tables that are written by the batch or by the clock, not by the order."""
DRIVERS_OWN = ("typeinfo_tree", "current_setting('jit')")
"""asyncpg learns the types of a statement once a connection."""
CONNECTED = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass
class Statements:
    """Every statement of every connection, in its transaction."""

    said: set[str] = field(default_factory=set)
    background: set[str] = field(default_factory=set)
    alone: list[str] = field(default_factory=list)
    transactions: list[list[str]] = field(default_factory=list)
    _open: dict[int, list[str]] = field(default_factory=dict)
    _deaf: bool = False

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hear every connection that is made from now on."""
        create_pool, connect = asyncpg.create_pool, asyncpg.connect

        async def hear(connection: asyncpg.Connection) -> None:
            session = connection.get_server_pid()
            connection.add_query_logger(lambda query: self._heard(session, query.query))

        async def heard_connect(*arguments: Any, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 - the driver's
            connection = await connect(*arguments, **options)
            await hear(connection)
            return connection

        begin = riding.Connection.begin_with_next
        fetch_and_commit = riding.Connection.fetch_and_commit

        def heard_begin(connection: riding.Connection, *ahead: Any) -> None:  # noqa: ANN401 - passed on
            begin(connection, *ahead)
            self._open[connection.get_server_pid()] = []

        async def heard_fetch_and_commit(
            connection: riding.Connection,
            sent: Callable[[], None],
            statement: str,
            *arguments: object,
        ) -> Any:  # noqa: ANN401 - rows
            rows = await fetch_and_commit(connection, sent, statement, *arguments)
            self._ended_with(connection.get_server_pid(), statement)
            return rows

        def heard_pool(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the driver's
            return create_pool(*arguments, init=hear, **options)

        monkeypatch.setattr(asyncpg, "create_pool", heard_pool)
        monkeypatch.setattr(asyncpg, "connect", heard_connect)
        monkeypatch.setattr(riding.Connection, "begin_with_next", heard_begin)
        monkeypatch.setattr(riding.Connection, "fetch_and_commit", heard_fetch_and_commit)

    def _heard(self, session: int, statement: str) -> None:
        if self._deaf or any(mark in statement for mark in DRIVERS_OWN):
            return
        self.said.add(statement)
        if statement in {"COMMIT", "ROLLBACK"}:
            self.transactions.append([*self._open.pop(session, []), statement])
        elif session in self._open:
            self._open[session].append(statement)
        else:
            self.alone.append(statement)

    def _ended_with(self, session: int, statement: str) -> None:
        """COMMIT went with the statement."""
        if not self._deaf:
            self.said.add(statement)
            self.transactions.append([*self._open.pop(session, []), statement])

    def idle_until_here(self) -> None:
        """What was said so far is the background; count from zero."""
        self.background |= self.said
        self.alone.clear()
        self.transactions.clear()

    def stop(self) -> None:
        """Hear no more."""
        self._deaf = True

    def orders(self) -> list[list[str]]:
        """The transactions that an idle platform would not have made."""
        return [
            said
            for said in self.transactions
            if set(said) - self.background - {"COMMIT", "ROLLBACK"}
        ]

    def count(self) -> int:
        """Round trips of those transactions, and of lone statements; what rides is none."""
        alone = [statement for statement in self.alone if statement not in self.background]
        return len(alone) + sum(map(len, self.orders()))


class Rows:
    """Row counters and the journal of a server; exact once nobody is connected any more."""

    def __init__(self, server: EmbeddedPostgres, databases: list[str]) -> None:
        self._server = server
        self._databases = databases

    async def written(self) -> tuple[int, int]:
        """Rows inserted and rows updated so far, besides the bookkeeping."""
        inserted = updated = 0
        for database in self._databases:
            connection = await asyncpg.connect(self._server.url(database))
            try:
                while await connection.fetchval(CONNECTED):
                    pass  # a backend reports its counts before it goes
                row = await connection.fetchrow(ROWS, BOOKKEEPING)
            finally:
                await connection.close()
            inserted, updated = inserted + row["inserted"], updated + row["updated"]
        return inserted, updated

    async def journal(self) -> int:
        """Bytes of journal (WAL) so far."""
        connection = await asyncpg.connect(self._server.url())
        try:
            position = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'")
        finally:
            await connection.close()
        return int(position)
