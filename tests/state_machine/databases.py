"""The services' databases under the state machine: emptied in milliseconds, on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


# `testing` stands before pg_catalog in the search path, so this is what the services' statements
# call; defaults of columns are bound when they are made, so they are made again. (Functions of the
# product pin their search path: what they note is the real time, and nothing is decided by it.)
CLOCK = """
CREATE SCHEMA testing;
CREATE TABLE testing.instant (at timestamptz NOT NULL);
INSERT INTO testing.instant VALUES ('2037-01-01');
CREATE FUNCTION testing.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT at FROM testing.instant';
DO $$
DECLARE found record;
BEGIN
    FOR found IN
        SELECT table_schema, table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'messaging' AND column_default = 'clock_timestamp()'
          AND table_name NOT LIKE 'outbox%'
    LOOP
        EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN %I SET DEFAULT testing.clock_timestamp()',
                       found.table_schema, found.table_name, found.column_name);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET search_path = testing, pg_catalog, public',
                   current_database());
END $$
"""
TABLES = """
SELECT schemaname || '.' || tablename FROM pg_tables
WHERE schemaname IN ('app', 'messaging')
  AND NOT (schemaname = 'messaging'
           AND tablename ~ '^(outbox_.*|schema_version|alembic.*|schedule)$')
  AND tablename !~ 'alembic'
ORDER BY tablename DESC
"""
MESSAGING = """
DELETE FROM messaging.outbox_reader; DELETE FROM messaging.schedule;
ALTER SEQUENCE messaging.outbox_seq RESTART;
INSERT INTO messaging.schedule (name, due_at)
VALUES ('outbox upkeep', 'infinity'), ('inbox purge', 'infinity');
"""
STOCK = """
WITH made AS (
    INSERT INTO app.products (id, name, available, created_at, updated_at)
    SELECT u.id, 'Product ' || u.id, u.units, $3, $3
    FROM unnest($1::uuid[], $2::bigint[]) AS u (id, units) RETURNING id, available
)
INSERT INTO app.stock_adjustments (product_id, kind, d_available, at)
SELECT id, 'initial', available, $3 FROM made
"""


class Databases:
    """One connection to each service's database, beside those of the service itself."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls
        self._connections: dict[str, asyncpg.Connection] = {}
        self._emptying: dict[str, str] = {}

    async def open(self) -> None:
        """Make each database follow the virtual clock."""
        for service, url in self._urls.items():
            connection = await asyncpg.connect(url)
            await connection.execute(CLOCK)
            self._connections[service] = connection
            tables = [row[0] for row in await connection.fetch(TABLES)]
            emptying = "".join(f"DELETE FROM {table};" for table in tables)  # noqa: S608 - names out of the catalogue
            self._emptying[service] = emptying + ("" if service == "provider" else MESSAGING)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            await connection.close()

    async def reset(self, stock: dict[UUID, int], now: datetime) -> None:
        """Nothing ever happened; this much is in stock."""
        await asyncio.gather(
            *(self._connections[name].execute(sql) for name, sql in self._emptying.items())
        )
        keeper = self._connections["inventory" if "inventory" in self._connections else "order"]
        await keeper.execute(STOCK, list(stock), list(stock.values()), now)

    async def set_clock(self, now: datetime) -> None:
        """Servers follow the processes' clock."""
        await asyncio.gather(
            *(
                connection.execute("UPDATE testing.instant SET at = $1", now)
                for connection in self._connections.values()
            )
        )

    async def fetch(self, service: str, statement: str, *arguments: Any) -> Sequence[Any]:  # noqa: ANN401 - SQL has no types here
        """Rows of one statement in this service's database."""
        rows: Sequence[Any] = await self._connections[service].fetch(statement, *arguments)
        return rows
