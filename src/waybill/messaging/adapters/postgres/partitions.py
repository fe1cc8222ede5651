"""The outbox's partitions: which there are, and two spare ones always ahead (protocol O1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row

SPARE_PARTITIONS = 2
"""Readiness is red below this many empty partitions ahead of the sequence."""

PARTITIONS = r"""
SELECT found.name, found.pending, bounds[1]::bigint AS lower, bounds[2]::bigint AS upper
FROM (
    SELECT child.relname AS name, inherits.inhdetachpending AS pending,
           pg_get_expr(child.relpartbound, child.oid) AS bound
    FROM pg_inherits AS inherits JOIN pg_class AS child ON child.oid = inherits.inhrelid
    WHERE inherits.inhparent = 'messaging.outbox'::regclass
) AS found,
    regexp_match(found.bound, 'FROM \(''?(\d+)''?\) TO \(''?(\d+)') AS bounds
ORDER BY lower
"""

LAST_SEQ = """
SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last_seq FROM messaging.outbox_seq
"""


class Fetching(Protocol):
    """A connection of asyncpg, or a Database."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


class Connection(Fetching, Protocol):
    """A connection of asyncpg."""

    async def execute(self, statement: str, *arguments: object) -> str:
        """Run statements; the last one's tag."""

    def transaction(self) -> Any:  # noqa: ANN401 - asyncpg has no types
        """A block in a transaction."""


@dataclass(frozen=True)
class Partition:
    """Rows with lower <= seq < upper. `pending`: a DETACH CONCURRENTLY was interrupted."""

    name: str
    lower: int
    upper: int
    pending: bool = False


async def partitions(connection: Fetching) -> list[Partition]:
    """All of them, ascending."""
    rows = await connection.fetch(PARTITIONS)
    return [Partition(row["name"], row["lower"], row["upper"], row["pending"]) for row in rows]


async def last_seq(connection: Fetching) -> int:
    """The last number drawn; 0 if none."""
    rows = await connection.fetch(LAST_SEQ)
    return int(rows[0]["last_seq"])


async def spare_partitions(connection: Fetching) -> int:
    """How many partitions wait ahead of the sequence. Needs a service role's rights only."""
    drawn = await last_seq(connection)
    return sum(found.lower > drawn and not found.pending for found in await partitions(connection))


async def create_spares(connection: Connection, partition_rows: int) -> int:
    """Create what is missing of the spare partitions; how many. As the owner; blocks no insert.

    A table is filled in first and attached then: CREATE … PARTITION OF would lock the outbox.
    """
    created = 0
    while await spare_partitions(connection) < SPARE_PARTITIONS:
        drawn = await last_seq(connection)
        uppers = [found.upper for found in await partitions(connection)]
        lower = max([*uppers, drawn + 1 if all(upper <= drawn for upper in uppers) else 1])
        name = f"messaging.outbox_{lower}"
        async with connection.transaction():
            await connection.execute(
                f"CREATE TABLE {name} (LIKE messaging.outbox "
                "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)"
            )
            await connection.execute(
                f"ALTER TABLE messaging.outbox ATTACH PARTITION {name} "
                f"FOR VALUES FROM ({lower}) TO ({lower + partition_rows})"
            )
        created += 1
    return created
