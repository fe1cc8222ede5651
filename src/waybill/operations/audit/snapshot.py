"""Snapshots: what one database held at one instant, read row by row and never written.

The session is read-only before its first statement, and so is the transaction. No result is ever
loaded whole: rows come through a server-side portal, a page at a time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.adapters.postgres.errors import DRIVER_ERRORS
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.ports import Row
    from waybill.operations.audit.rule import Found


@dataclass(frozen=True)
class ReadLimits:
    """What a session of the audit may take. The server's time-outs hold for each statement."""

    page_rows: int = 2_000
    connect_timeout_seconds: float = 10.0
    statement_timeout_seconds: float = 600.0
    lock_timeout_seconds: float = 10.0
    snapshot_seconds_max: float = 3_600.0
    """A snapshot may idle so long while other databases are read; it holds back vacuum there."""
    sort_kilobytes_max: int = 65_536
    """Memory of one sort or hash in the server; beyond it goes to the server's disk."""

    def session(self) -> dict[str, str]:
        """The settings that every session starts with."""
        return {
            "application_name": "waybill audit",
            "default_transaction_read_only": "on",
            "statement_timeout": _milliseconds(self.statement_timeout_seconds),
            "lock_timeout": _milliseconds(self.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(self.snapshot_seconds_max),
            "work_mem": f"{self.sort_kilobytes_max}kB",
            "jit": "off",
            # Rows and texts as every machine shows them.
            "timezone": "UTC",
        }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


class Reading:
    """One connection to one database, for reading only. One statement at a time."""

    def __init__(self, database: str, connection: asyncpg.Connection, limits: ReadLimits) -> None:
        self.database = database
        self._connection = connection
        self._limits = limits

    @classmethod
    async def open(cls, database: str, url: str, limits: ReadLimits) -> Reading:
        """Connect. Raises TransientError that names the database."""
        try:
            connection = await asyncpg.connect(
                url,
                timeout=limits.connect_timeout_seconds,
                server_settings=limits.session(),
            )
        except (*DRIVER_ERRORS, ValueError) as error:
            raise TransientError(
                f"the database of {database} cannot be reached: {_told(error)}"
            ) from error
        return cls(database, connection, limits)

    async def close(self) -> None:
        """End the connection; one that is broken is dropped."""
        try:
            await self._connection.close(timeout=self._limits.connect_timeout_seconds)
        except DRIVER_ERRORS:
            self._connection.terminate()

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """All rows of a statement that gives few."""
        try:
            rows: Sequence[Row] = await self._connection.fetch(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        return rows

    async def stream(self, statement: str, *arguments: object) -> AsyncIterator[Found]:
        """The rows of a statement, a page in memory at a time. Inside `snapshot` only.

        Several may be read in turns.
        """
        try:
            cursor = self._connection.cursor(statement, *arguments, prefetch=self._limits.page_rows)
            async for row in cursor:
                yield row
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """A block in which everything is read as it was when the block began."""
        transaction = self._connection.transaction(isolation="repeatable_read", readonly=True)
        try:
            await transaction.start()
            # The first statement takes the snapshot, not BEGIN.
            await self._connection.fetch("SELECT pg_catalog.pg_current_snapshot()")
        except DRIVER_ERRORS as error:
            raise self._failed(error) from error
        try:
            yield
        finally:
            try:
                await transaction.rollback()
            except DRIVER_ERRORS:
                self._connection.terminate()

    def _failed(self, error: BaseException) -> TransientError:
        return TransientError(f"the database of {self.database} cannot be read: {_told(error)}")


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{text} ({type(error).__name__})" if text else type(error).__name__
