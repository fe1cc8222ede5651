"""The pool of connections to one database on MariaDB or MySQL, with every limit named.

Connecting refuses servers on which the promises of messaging would not hold.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncmy

from waybill.messaging.adapters.mysql.errors import DRIVER_ERRORS, translate, translated
from waybill.messaging.adapters.mysql.server import Server, checked_server
from waybill.messaging.adapters.mysql.session import (
    MysqlSession,
    connect,
    connecting,
    init_command,
)
from waybill.messaging.adapters.mysql.transaction import MysqlTransaction
from waybill.messaging.ending import TransactionScope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncmy.connection import Connection

    from waybill.messaging.core.ports import Row, Transaction

CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class MysqlSettings:
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
    idle_connection_seconds_max: int = 3600
    """Below the server's wait_timeout, which is eight hours by default."""
    application_name: str = "waybill"

    def connecting(self, url: str) -> dict[str, Any]:
        """The driver's arguments for this URL. Raises ConfigurationError."""
        return connecting(
            url,
            connect_seconds=self.connect_timeout_seconds,
            program=self.application_name,
        )

    @property
    def answer_seconds(self) -> float:
        """How long a statement is waited for."""
        return self.statement_timeout_seconds + self.answer_grace_seconds

    def session(self, server: Server) -> dict[str, str]:
        """The variables that every session starts with."""
        return server.session(
            statement_seconds=self.statement_timeout_seconds,
            lock_seconds=self.lock_timeout_seconds,
            idle_seconds=self.idle_in_transaction_timeout_seconds,
        )


async def find_server(arguments: Mapping[str, Any], *, answer_seconds: float) -> Server:
    """Ask once which server this is. TransientError, ConfigurationError."""
    with translated():
        variables = {"time_zone": "'+00:00'"}
        session = await connect(arguments, variables, answer_seconds=answer_seconds)
        try:
            return await checked_server(session)
        finally:
            await session.close()


class MysqlDatabase:
    """See core.ports.Database. Open one with `connect`."""

    def __init__(self, pool: asyncmy.Pool, server: Server, settings: MysqlSettings) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(settings.pool_max)
        self._acquire_timeout_seconds = settings.acquire_timeout_seconds
        self._answer_seconds = settings.answer_seconds
        self._is_closed = False
        self.server = server
        """Which server this was when the pool was opened (protocol D6)."""

    @classmethod
    async def connect(cls, url: str, settings: MysqlSettings | None = None) -> MysqlDatabase:
        """Open the pool and check the server.

        Raises TransientError if it cannot be reached, ConfigurationError if it must not be used.
        """
        settings = settings or MysqlSettings()
        arguments = settings.connecting(url)
        server = await find_server(arguments, answer_seconds=settings.answer_seconds)
        with translated():
            pool = await asyncmy.create_pool(
                minsize=settings.pool_min,
                maxsize=settings.pool_max,
                pool_recycle=settings.idle_connection_seconds_max,
                init_command=init_command(settings.session(server)),
                **arguments,
            )
        return cls(pool, server, settings)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See Database.transaction."""
        return TransactionScope(self, MysqlTransaction)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See Database.fetch."""
        session = await self.acquire()
        try:
            return await session.fetch(statement, *arguments)
        except (*DRIVER_ERRORS, ValueError) as error:
            raise translate(error) from error
        except BaseException:
            session.discard()
            raise
        finally:
            await self.release(session)

    async def close(self) -> None:
        """See Database.close. Open transactions have five seconds to end."""
        if self._is_closed:
            return
        self._is_closed = True
        self._pool.close()
        try:
            await asyncio.wait_for(self._pool.wait_closed(), timeout=CLOSE_SECONDS)
        except TimeoutError:
            self._pool.terminate()

    async def acquire(self) -> MysqlSession:
        """A session out of the pool. Raises TransientError when none comes in time."""
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        with translated():
            async with asyncio.timeout(self._acquire_timeout_seconds):
                await self._free.acquire()
                try:
                    connection: Connection = await self._pool.acquire()
                except BaseException:
                    self._free.release()
                    raise
        session = MysqlSession(connection, self._answer_seconds, self.server.packet_bytes_max)
        if task and task.cancelling() > asked:
            # On Python 3.11 connecting swallows a cancellation that comes as it is done.
            await self.release(session)
            raise asyncio.CancelledError
        return session

    async def release(self, session: MysqlSession) -> None:
        """Give it back. One that is broken, or amid a transaction, is replaced at its next use."""
        try:
            await self._pool.release(session.connection)
        finally:
            self._free.release()
