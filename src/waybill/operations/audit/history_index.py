"""A client's history, sorted on disk: what is asked by key needs no memory for the whole file."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from waybill.operations.audit.disk_index import Rows, disk_index, pages
from waybill.operations.history import read_history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from waybill.operations.history import Entry

__all__ = ["HistoryIndex", "Rows", "history_index"]

INSERT_ROWS = 5_000

_TABLE = """
CREATE TABLE placed (
    scope TEXT, key TEXT, customer_id TEXT, payload_hash TEXT, status INTEGER, outcome TEXT,
    order_id TEXT, body_hash TEXT
)
"""
_INSERT = "INSERT INTO placed VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class HistoryIndex:
    """The requests to place an order of one history file, in a file of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def pages(self, query: str) -> Iterator[Rows]:
        """The rows of a query, a page at a time. Blocks."""
        yield from pages(self._connection, query)


@contextmanager
def history_index(path: Path) -> Iterator[HistoryIndex]:
    """Read the whole file; the index is gone at the end of the block. Blocks.

    Raises ConfigurationError that names the line which is no entry of a history.
    """
    with disk_index(_TABLE) as connection:
        connection.execute("BEGIN")
        rows = (_row(entry) for entry in read_history(path) if entry.operation == "place")
        while page := list(islice(rows, INSERT_ROWS)):
            connection.executemany(_INSERT, page)
        connection.execute("COMMIT")
        connection.execute("CREATE INDEX by_key ON placed (scope, key)")
        yield HistoryIndex(connection)


def _row(entry: Entry) -> tuple[str | int | None, ...]:
    return (
        entry.scope,
        entry.key,
        entry.customer_id,
        entry.payload_hash,
        entry.status,
        entry.outcome,
        entry.order_id,
        entry.body_hash,
    )
