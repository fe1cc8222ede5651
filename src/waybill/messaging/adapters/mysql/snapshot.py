"""One connection that reads a database as it was at one instant, a page in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncmy.cursors import SSCursor

from waybill.messaging.adapters.mysql.connection import MysqlSettings, find_server
from waybill.messaging.adapters.mysql.errors import translated
from waybill.messaging.adapters.mysql.session import MysqlSession, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.ports import Row

PAGE_ROWS = 2_000
_SETTINGS = MysqlSettings(statement_timeout_seconds=600.0, application_name="waybill audit")


class Snapshot:
    """For reading only: needs no right but SELECT."""

    def __init__(self, session: MysqlSession) -> None:
        self._session = session

    @classmethod
    async def open(cls, url: str) -> Snapshot:
        """Connect. Raises TransientError, ConfigurationError."""
        arguments = _SETTINGS.connecting(url)
        server = await find_server(arguments, answer_seconds=_SETTINGS.answer_seconds)
        with translated():
            variables = _SETTINGS.session(server)
            session = await connect(arguments, variables, answer_seconds=_SETTINGS.answer_seconds)
        return cls(session)

    async def begin(self) -> None:
        """From now on everything is read as it is now."""
        with translated():
            await self._session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await self._session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    async def fetch(self, statement: str) -> Sequence[Row]:
        """All rows of a statement that gives few."""
        with translated():
            return await self._session.fetch(statement)

    async def stream(self, statement: str) -> AsyncIterator[Sequence[tuple[object, ...]]]:
        """Pages of rows. One statement at a time, to its end."""
        with translated():
            async with self._session.connection.cursor(SSCursor) as cursor:
                await cursor.execute(statement)
                while page := await cursor.fetchmany(PAGE_ROWS):
                    yield page

    async def close(self) -> None:
        """End the connection."""
        await self._session.close()
