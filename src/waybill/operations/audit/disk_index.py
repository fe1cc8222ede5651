"""A table on disk for the length of a block: what is asked by key needs no memory for all of it."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_ROWS = 1_000
CACHE_KILOBYTES = 16_384

Rows = list[tuple[str | None, ...]]


@contextmanager
def disk_index(*tables: str) -> Iterator[sqlite3.Connection]:
    """A connection to tables of its own, which threads may use in turns; gone after the block."""
    with tempfile.TemporaryDirectory(prefix="waybill-audit-") as directory:
        # Autocommit: nobody else will ever open it, and nothing of it outlives the block.
        connection = sqlite3.connect(
            Path(directory) / "index", isolation_level=None, check_same_thread=False
        )
        with closing(connection):
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
            for table in tables:
                connection.execute(table)
            yield connection


def pages(connection: sqlite3.Connection, query: str) -> Iterator[Rows]:
    """The rows of a query, a page at a time. Blocks."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(query)
        while page := cursor.fetchmany(PAGE_ROWS):
            yield page
