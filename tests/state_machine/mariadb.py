"""The simulation's databases on MariaDB: on virtual time too, audited as `waybill audit` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import asyncmy
from tests.commerce.mariadb_services import KEPT
from tests.state_machine.books import Auditor
from tests.state_machine.databases import Databases
from tests.state_machine.side import PostgresSide, count

from waybill.commerce.tables import by_prefix
from waybill.messaging.adapters.mysql.connection import MysqlDatabase, MysqlSettings
from waybill.messaging.adapters.mysql.session import MysqlSession
from waybill.messaging.adapters.mysql.snapshot import Snapshot
from waybill.messaging.engines.mysql import MysqlEngine
from waybill.platform.mirrored import fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import pytest
    from tests.state_machine.virtual_time import VirtualLoop

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.engines.port import Engine

TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY table_name DESC
"""
SCHEDULE = """
INSERT INTO messaging_schedule (name, due_at)
VALUES ('outbox upkeep', '9000-01-01'), ('inbox purge', '9000-01-01')
"""
PRODUCTS = "INSERT INTO app_products (id, name, available, created_at, updated_at) VALUES $1"
LEDGER = "INSERT INTO app_stock_adjustments (product_id, kind, d_available, at) VALUES $1"
READERS = "SELECT * FROM messaging_outbox_reader"
TIMELESS = ("BEGIN", "COMMIT", "ROLLBACK", "SET", "START", "SHOW")
ID_BYTES = 16


class MariadbDatabases:
    """One connection to each service's database, beside those of the service itself."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._connections: dict[str, MysqlDatabase] = {}
        self._emptying: dict[str, list[str]] = {}
        self.now: datetime | None = None

    async def open(self) -> None:
        """Connect."""
        connect = MariadbSide.opened
        for service, url in self._urls.items():
            self._connections[service] = await connect(url, MysqlSettings(pool_max=1))
            tables = [row[0] for row in await self._connections[service].fetch(TABLES)]
            self._emptying[service] = [
                f"DELETE FROM {table}"  # noqa: S608 - names out of the catalogue
                for table in tables
                if table not in KEPT
            ]

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            await connection.close()

    async def reset(self, stock: dict[UUID, int], now: datetime) -> None:
        """Nothing ever happened; this much is in stock."""
        for name, statements in self._emptying.items():
            for statement in (*statements, SCHEDULE):
                await self._connections[name].fetch(statement)
        keeper = self._connections["inventory" if "inventory" in self._connections else "order"]
        products = [(id_, f"Product {id_}", units, now, now) for id_, units in stock.items()]
        await keeper.fetch(PRODUCTS, products)
        await keeper.fetch(LEDGER, [(id_, "initial", units, now) for id_, units in stock.items()])

    async def set_clock(self, now: datetime) -> None:
        """Sessions follow the processes' clock: see MariadbSide.follow."""
        self.now = now

    async def fetch(self, service: str, statement: str, *arguments: Any) -> Sequence[Any]:  # noqa: ANN401 - SQL has no types here
        """Rows of one statement of PostgreSQL's in this service's database."""
        found: Sequence[Any] = await self._connections[service].fetch(
            by_prefix(statement), *arguments
        )
        return [dict(zip(row.names, map(_id_or_plain, row), strict=True)) for row in found]


class MirroredAuditor(Auditor):
    """Looks at a copy on PostgreSQL, as the audit of these databases does."""

    def __init__(
        self,
        urls: Mapping[str, str],
        copies: Mapping[str, str],
        databases: MariadbDatabases,
        blueprint: Blueprint,
    ) -> None:
        super().__init__({service: copies[service] for service in urls}, blueprint)
        self._theirs = urls
        self._databases = databases
        self._copies = Databases({service: copies[service] for service in urls})

    async def open(self) -> None:
        """Connect, and let the copies follow the virtual clock."""
        await self._copies.open()
        await super().open()

    async def close(self) -> None:
        """Disconnect."""
        await super().close()
        await self._copies.close()

    async def assert_always(self, databases: Iterable[str]) -> None:
        """Asked at rest only: a copy costs more than the step."""
        if set(databases) == set(self._theirs):
            await super().assert_always(databases)

    async def under_way(self) -> str:
        """See Auditor.under_way; whatever follows looks at the same copy."""
        await self._copy()
        return await super().under_way()

    async def _copy(self) -> None:
        if self._databases.now is not None:
            await self._copies.set_clock(self._databases.now)
        for service, url in self._theirs.items():
            snapshot = await Snapshot.open(url)
            try:
                reported = await snapshot.fetch(READERS)
                await snapshot.begin()
                await fill(self._urls[service], snapshot, reported)
            finally:
                await snapshot.close()


class MariadbSide(PostgresSide):
    """MariaDB's. `copies`: databases on PostgreSQL with the same tables, for the audit."""

    engine: Engine = MysqlEngine()
    pool: Any = MysqlDatabase
    opened: ClassVar[Any] = MysqlDatabase.connect

    def __init__(self, copies: Mapping[str, str]) -> None:
        self._copies = copies

    def databases(self, urls: Mapping[str, str], loop: VirtualLoop) -> Any:  # noqa: ANN401 - see MariadbDatabases
        """The test's own connections."""
        del loop
        self._databases = MariadbDatabases(urls)
        return self._databases

    def auditor(self, urls: Mapping[str, str], databases: Any, blueprint: Blueprint) -> Auditor:  # noqa: ANN401 - as above
        """Who looks into the books."""
        return MirroredAuditor(urls, self._copies, databases, blueprint)

    async def void_leases(self, database: Any) -> None:  # noqa: ANN401 - a pool
        """Nobody has these servers alone: leases end by themselves."""

    def follow(self, patch: pytest.MonkeyPatch, loop: VirtualLoop) -> None:
        """Every statement is on its way, at the virtual instant."""
        super().follow(patch, loop)
        count(patch, loop, asyncmy, "connect")
        count(patch, loop, MysqlSession, "close")
        run = MysqlSession.run

        async def at_the_instant(session: MysqlSession, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - passed on
            with loop.statement():
                now = self._databases.now
                if now is not None and not statement.lstrip().startswith(TIMELESS):
                    await run(session, f"SET timestamp = {now.timestamp():.6f}")
                return await run(session, statement, *arguments)

        patch.setattr(MysqlSession, "run", at_the_instant)


def _id_or_plain(value: object) -> object:
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == ID_BYTES else value
