"""The pool of connections to one PostgreSQL database, typed, with every limit named.

Connecting refuses servers on which the promises of messaging would not hold.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import asyncpg

from waybill.messaging.adapters.postgres import riding, statements
from waybill.messaging.adapters.postgres.errors import DRIVER_ERRORS, discard, translated
from waybill.messaging.adapters.postgres.server import Server, checked_server
from waybill.messaging.adapters.postgres.transaction import PostgresTransaction
from waybill.messaging.core.sqlstate import translate
from waybill.messaging.ending import TransactionScope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from waybill.messaging.core.ports import Row, Transaction


class Connection(Protocol):
    """What of an asyncpg connection is used here."""

    async def execute(self, statement: str, *arguments: object) -> str:
        """Run one statement; its command tag."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""

    async def fetch_and_commit(
        self, sent: Callable[[], None], statement: str, *arguments: object
    ) -> Sequence[Row]:
        """Run one statement and COMMIT; its rows. Calls `sent` when COMMIT is on its way."""

    def begin_with_next(self, ahead: bytes = b"", then: Callable[[], None] | None = None) -> None:
        """Begin a transaction with the next statement, and run one ahead of it."""

    async def bound(self, statement: str, arguments: Sequence[object]) -> bytes:
        """What `begin_with_next` takes to run this statement."""

    def is_ahead_open(self) -> bool:
        """Whether what went ahead is not answered yet."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, a failed one too."""

    def terminate(self) -> None:
        """Close the socket without a word."""


@dataclass(frozen=True)
class PostgresSettings:
    """Limits of one pool. The server's time-outs hold for every statement of its sessions."""

    pool_min: int = 1
    pool_max: int = 8
    acquire_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 10.0
    statement_timeout_seconds: float = 30.0
    lock_timeout_seconds: float = 10.0
    idle_in_transaction_timeout_seconds: float = 30.0
    answer_grace_seconds: float = 5.0
    """Beyond the statement time-out a silent connection counts as broken (half-open TCP)."""
    application_name: str = "waybill"
    server_settings: Mapping[str, str] = field(default_factory=dict)

    def session(self) -> dict[str, str]:
        """The settings that every session starts with."""
        return {
            "application_name": self.application_name,
            "default_transaction_isolation": "read committed",
            "statement_timeout": _milliseconds(self.statement_timeout_seconds),
            "lock_timeout": _milliseconds(self.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(
                self.idle_in_transaction_timeout_seconds
            ),
            # Compiling costs more than any of our statements.
            "jit": "off",
            **self.server_settings,
        }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


class PostgresDatabase:
    """See core.ports.Database. Open one with `connect`."""

    def __init__(self, pool: asyncpg.Pool, server: Server, settings: PostgresSettings) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(settings.pool_max)
        self._acquire_timeout_seconds = settings.acquire_timeout_seconds
        self.server = server
        """Which server this was when the pool was opened (protocol D6)."""

    @classmethod
    async def connect(cls, url: str, settings: PostgresSettings | None = None) -> PostgresDatabase:
        """Open the pool and check the server.

        Raises TransientError if it cannot be reached, ConfigurationError if it must not be used.
        """
        settings = settings or PostgresSettings()
        with translated():
            pool = await asyncpg.create_pool(
                url,
                min_size=settings.pool_min,
                max_size=settings.pool_max,
                max_queries=0xFFFF_FFFF,
                timeout=settings.connect_timeout_seconds,
                command_timeout=settings.statement_timeout_seconds + settings.answer_grace_seconds,
                server_settings=settings.session(),
                reset=_keep_session,
                connection_class=riding.Connection,
            )
            try:
                server = await checked_server(pool)
            except BaseException:
                pool.terminate()
                raise
        return cls(pool, server, settings)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See Database.transaction."""
        return TransactionScope(self, PostgresTransaction)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Database.fetch."""
        connection = await self.acquire()
        statements.sent += 1
        try:
            rows: Sequence[Row] = await connection.fetch(statement, *arguments)
        except DRIVER_ERRORS as error:
            raise translate(error) from error
        except BaseException:
            discard(connection)
            raise
        finally:
            await self.release(connection)
        return rows

    async def close(self) -> None:
        """See Database.close. Open transactions have five seconds to end."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5.0)
        except TimeoutError:
            self._pool.terminate()

    async def acquire(self) -> asyncpg.pool.PoolConnectionProxy:
        """A connection out of the pool. Raises TransientError when none comes in time."""
        with translated():
            if self._free.locked():
                async with asyncio.timeout(self._acquire_timeout_seconds):
                    await self._free.acquire()
            else:
                await self._free.acquire()
            try:
                # One is free: waiting by the pool's own timer would cost as much as a statement.
                return await self._pool.acquire()
            except BaseException:
                self._free.release()
                raise

    async def release(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """Give it back. One that is broken is replaced at its next use."""
        try:
            await self._pool.release(connection)
        except DRIVER_ERRORS:
            discard(connection)
        finally:
            self._free.release()


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """In place of asyncpg's reset, which costs a round trip: we change sessions by SET LOCAL."""
