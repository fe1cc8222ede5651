"""One connection to a producer's database, as its reader role. It is never shared.

Everything that goes wrong here is an outage (TransientError) until it is seen to be a mistake in
the set-up (ConfigurationError): a message is never the reason. Nothing hints at new rows from
another process (these servers have no NOTIFY): the poll finds them (protocol D7).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql import pages
from waybill.messaging.adapters.mysql.arrays import encoded
from waybill.messaging.adapters.mysql.connection import MysqlSettings
from waybill.messaging.adapters.mysql.errors import DRIVER_ERRORS
from waybill.messaging.adapters.mysql.registration import register
from waybill.messaging.adapters.mysql.server import checked_server
from waybill.messaging.adapters.mysql.session import connect
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.adapters.mysql.server import Server
    from waybill.messaging.adapters.mysql.session import MysqlSession
    from waybill.messaging.core.ports import Row
    from waybill.messaging.reading.settings import LogSettings
    from waybill.messaging.reading.standing import Registration

LOCK_TIMEOUT_SECONDS = 1.0

_HORIZON = "SELECT horizon, horizon_at FROM messaging_outbox_meta"
_REPORT = """
UPDATE messaging_outbox_reader SET positions = $2, seen_at = NOW(6) WHERE consumer = $1
"""
_ENDS = "SELECT lane, max(seq) FROM messaging_outbox GROUP BY lane"
_SAME = """
SELECT count(*) FROM ($1) AS p STRAIGHT_JOIN messaging_outbox AS o
    ON o.lane = p.lane AND o.seq = p.seq AND o.id = p.id
"""


def _nobody_listens() -> None:
    """Stands for a reader that is not there yet."""


class MysqlSource:
    """See reading.ports.Source. The statements that a reader role may run, one at a time."""

    def __init__(
        self, name: str, url: str, *, application_name: str, settings: LogSettings
    ) -> None:
        self.name = name
        self.notified: Callable[[], None] = _nobody_listens
        self._url = url
        self._settings = MysqlSettings(
            connect_timeout_seconds=settings.connect_timeout_seconds,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            answer_grace_seconds=0.0,
            lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
            application_name=application_name,
        )
        self._session: MysqlSession | None = None
        self._server: Server | None = None
        self._turn = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """See Source.connected."""
        return self._session is not None and self._session.is_open

    async def connect(self) -> None:
        """See Source.connect."""
        self._drop()
        try:
            arguments = self._settings.connecting(self._url)
            session = await connect(
                arguments,
                {"time_zone": "'+00:00'"},
                answer_seconds=self._settings.answer_seconds,
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"source {self.name}: {error}") from error
        except DRIVER_ERRORS as error:
            raise self._down(error) from error
        try:
            server = await checked_server(session)
            variables = self._settings.session(server).items()
            await session.run("SET " + ", ".join(f"{name} = {value}" for name, value in variables))
        except ConfigurationError as error:
            session.discard()
            raise ConfigurationError(f"source {self.name}: {error}") from error
        except DRIVER_ERRORS as error:
            session.discard()
            raise self._down(error) from error
        except BaseException:
            session.discard()
            raise
        self._session, self._server = session, server

    async def fetch(
        self, lanes: Sequence[int], positions: Sequence[int], topics: Sequence[str], limit: int
    ) -> Sequence[Row]:
        """See Source.fetch."""
        async with _Turn(self) as session:
            return await pages.page(session, lanes, positions, topics, limit)

    async def page(
        self, lanes: Sequence[int], positions: Sequence[int], limit: int
    ) -> Sequence[Row]:
        """As `fetch`, of every topic."""
        async with _Turn(self) as session:
            return await pages.page(session, lanes, positions, None, limit)

    async def register(
        self,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
        start: Sequence[int] | None = None,
    ) -> Registration:
        """See Source.register."""
        async with _Turn(self) as session:
            assert self._server is not None  # noqa: S101 - connected
            await session.run("BEGIN")
            told = await register(
                session, self._server, consumer, topics, positions=positions, start=start
            )
            await session.run("COMMIT")
        return told

    async def report(
        self, consumer: str, positions: Sequence[int]
    ) -> tuple[bool, int, datetime] | None:
        """See Source.report."""
        async with _Turn(self) as session:
            count, _ = await session.run(_REPORT, consumer, encoded(positions))
            (row,) = await session.fetch(_HORIZON)
        return count > 0, row["horizon"], row["horizon_at"]

    async def ends(self) -> list[int]:
        """See Source.ends."""
        async with _Turn(self) as session:
            found = {row[0]: row[1] for row in await session.fetch(_ENDS)}
        return [found.get(lane, 0) for lane in range(ALL_LANES)]

    async def is_replaced(
        self, positions: Sequence[int], last_ids: Sequence[UUID | None], horizon: int
    ) -> bool:
        """See Source.is_replaced."""
        known = [
            (lane, seq, last_id)
            for lane, (seq, last_id) in enumerate(zip(positions, last_ids, strict=True))
            if last_id is not None and seq >= horizon
        ]
        if not known:
            return False
        async with _Turn(self) as session:
            rows = await session.fetch(_SAME, Table("lane, seq, id", known))
        return bool(rows[0][0] < len(known))

    async def close(self) -> None:
        """See Source.close."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.discard()
            self._session = None

    def _down(self, error: BaseException) -> TransientError:
        return TransientError(f"source {self.name}: {str(error) or type(error).__name__}")


class _Turn:
    """The connection for one thing after the other. An error or a cancellation costs it."""

    def __init__(self, source: MysqlSource) -> None:
        self._source = source

    async def __aenter__(self) -> MysqlSession:
        await self._source._turn.acquire()  # noqa: SLF001 - its other half
        session = self._source._session  # noqa: SLF001 - as above
        if session is None or not session.is_open:
            self._source._turn.release()  # noqa: SLF001 - as above
            raise TransientError(f"source {self._source.name} is not connected")
        return session

    async def __aexit__(self, _kind: object, error: BaseException | None, _: object) -> None:
        self._source._turn.release()  # noqa: SLF001 - as above
        if error is None:
            return
        self._source._drop()  # noqa: SLF001 - as above
        if isinstance(error, DRIVER_ERRORS):
            raise self._source._down(error) from error  # noqa: SLF001 - as above
