"""Rows of MariaDB or MySQL into tables of the same names and columns on PostgreSQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from waybill.messaging.adapters.postgres.errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from waybill.messaging.adapters.mysql.snapshot import Snapshot
    from waybill.messaging.core.ports import Row

SCHEMAS: Final = ("messaging", "app")
LEFT_OUT: Final = frozenset(
    {"messaging.schema_version", "app.schema_version", "messaging.outbox_meta"}
)
_COLUMNS = """
SELECT table_schema || '.' || table_name AS name, column_name, udt_name
FROM information_schema.columns JOIN information_schema.tables
    USING (table_catalog, table_schema, table_name)
WHERE table_schema = ANY($1) AND table_type = 'BASE TABLE' AND table_name !~ '^outbox_[0-9]+$'
ORDER BY name, ordinal_position
"""
_THEIR_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()
"""
_META = "SELECT mode, horizon, horizon_at, log, boundary FROM messaging_outbox_meta"
_SET_META = """
UPDATE messaging.outbox_meta SET mode = $1, horizon = $2, horizon_at = $3, log = $4, boundary = $5
"""
_DRAWN = "SELECT setval('messaging.outbox_seq', coalesce(max(seq), 1)) FROM messaging.outbox"

# What any activity changes: numbers drawn, positions, calls and their attempts, open orders.
_MARKS = (
    "SELECT max(seq) FROM messaging_outbox",
    "SELECT consumer, source, positions FROM messaging_consumer_source ORDER BY consumer, source",
    "SELECT lane, position FROM messaging_outbox_lane ORDER BY lane",
    """
    SELECT state, count(*), sum(attempts), max(next_attempt_at), max(lease_until)
    FROM messaging_deliveries GROUP BY state ORDER BY state
    """,
    """
    SELECT verdict, count(*), sum(redrives) FROM messaging_dead_letters
    GROUP BY verdict ORDER BY verdict
    """,
)


async def marks(snapshot: Snapshot) -> list[object]:
    """Equal ones before and after: nothing moved in between."""
    return [[tuple(row) for row in await snapshot.fetch(each)] for each in _MARKS]  # type: ignore[arg-type]  # rows iterate


async def fill(url: str, snapshot: Snapshot, reported: Iterable[Row]) -> None:
    """Replace all rows of the database at `url` by those of the snapshot."""
    theirs: dict[str, set[str]] = {}
    for row in await snapshot.fetch(_THEIR_COLUMNS):
        theirs.setdefault(row[0], set()).add(row[1])
    with translated():
        connection = await asyncpg.connect(url)
        try:
            ours: dict[str, dict[str, str]] = {}
            for name, column, kind in await connection.fetch(_COLUMNS, list(SCHEMAS)):
                ours.setdefault(name, {})[column] = kind
            async with connection.transaction():
                for name, columns in ours.items():
                    if name in LEFT_OUT:
                        continue
                    await connection.execute(f"DELETE FROM {name}")  # noqa: S608 - a name of our own
                    there = {c: k for c, k in columns.items() if c in theirs.get(_flat(name), ())}
                    if there:
                        given = reported if name == "messaging.outbox_reader" else None
                        await _copy(connection, name, there, snapshot, given)
                (meta,) = await snapshot.fetch(_META)
                numbers = None if meta["boundary"] is None else json.loads(meta["boundary"])
                await connection.execute(_SET_META, meta[0], meta[1], meta[2], meta[3], numbers)
                await connection.execute(_DRAWN)
        finally:
            await connection.close()


async def _copy(
    connection: asyncpg.Connection,
    name: str,
    columns: Mapping[str, str],
    snapshot: Snapshot,
    given: Iterable[Row] | None,
) -> None:
    schema, table = name.split(".")
    makers = [_MAKERS.get(kind, _same) for kind in columns.values()]

    async def store(page: Iterable[Sequence[Any]]) -> None:
        rows = [tuple(m(v) for m, v in zip(makers, row, strict=True)) for row in page]
        await connection.copy_records_to_table(
            table, schema_name=schema, columns=list(columns), records=rows
        )

    if given is not None:
        await store([[row[column] for column in columns] for row in given])
        return
    names = ", ".join(f"`{column}`" for column in columns)
    async for page in snapshot.stream(f"SELECT {names} FROM {_flat(name)}"):  # noqa: S608 - names of our own
        await store(page)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _same(value: object) -> object:
    return value


def _unless_null(make: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else make(value)


def _texts(value: str) -> list[str]:
    """A JSON array of topics, or facts with commas between them."""
    if value.startswith("["):
        return [str(each) for each in json.loads(value)]
    return value.split(",") if value else []


_MAKERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "uuid": _unless_null(lambda value: UUID(bytes=value)),
    "bool": _unless_null(bool),
    "_text": _unless_null(_texts),
    "_int8": _unless_null(json.loads),
    "_uuid": _unless_null(
        lambda value: [None if each is None else UUID(each) for each in json.loads(value)]
    ),
    "bytea": _unless_null(lambda value: value if isinstance(value, bytes) else value.encode()),
}
