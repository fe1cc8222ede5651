"""One connection to a producer's database, as its reader role. It is never shared.

Everything that goes wrong here is an outage (TransientError) until it is seen to be a mistake in
the set-up (ConfigurationError): a message is never the reason.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.adapters.postgres import statements
from waybill.messaging.adapters.postgres.errors import DRIVER_ERRORS, discard
from waybill.messaging.adapters.postgres.outbox_rows import FETCH, PAGE
from waybill.messaging.adapters.postgres.registration import REGISTER, registration
from waybill.messaging.adapters.postgres.server import read_server, refusal
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, VALUE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Row
    from waybill.messaging.reading.settings import LogSettings
    from waybill.messaging.reading.standing import Registration

CHANNEL = "waybill_outbox"
"""NOTIFY channel of an outbox; channels belong to one database."""

# The plan is made once a connection, perhaps on an empty table. These settings leave only the one
# that is right for every size: the index (lane, seq), partition by partition.
SESSION = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "lock_timeout": "1s",
}


def _nobody_listens() -> None:
    """Stands for a reader that is not there yet."""


class OutboxSource:
    """The statements that a reader role may run, one at a time."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        application_name: str,
        settings: LogSettings,
    ) -> None:
        self.name = name
        self.notified: Callable[[], None] = _nobody_listens
        """Called at every hint from another process (protocol D7)."""
        self._url = url
        self._application_name = application_name
        self._settings = settings
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether the connection was open when last looked at."""
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> None:
        """Open the connection and listen for hints. Raises ConfigurationError for a replica."""
        self._drop()
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=self._settings.connect_timeout_seconds,
                command_timeout=self._settings.statement_timeout_seconds,
                server_settings={"application_name": self._application_name, **SESSION},
            )
        except ValueError as error:
            raise ConfigurationError(f"source {self.name}: its URL is wrong: {error}") from error
        except DRIVER_ERRORS as error:
            raise self._down(error) from error
        try:
            problem = refusal(await read_server(connection))
            if problem is not None:
                raise ConfigurationError(f"source {self.name}: {problem}")  # noqa: TRY301 - as below
            await connection.add_listener(CHANNEL, self._hear)
        except DRIVER_ERRORS as error:
            discard(connection)
            raise self._down(error) from error
        except BaseException:
            discard(connection)
            raise
        self._connection = connection

    async def fetch(
        self, lanes: Sequence[int], positions: Sequence[int], topics: Sequence[str], limit: int
    ) -> Sequence[Row]:
        """Rows above the positions: lanes in the given order, at most `limit` in all.

        Fewer than there are, if their values reach BATCH_BYTES_MAX.
        """
        return await self._run(
            FETCH, lanes, positions, topics, limit, VALUE_BYTES_MAX, BATCH_BYTES_MAX
        )

    async def page(
        self, lanes: Sequence[int], positions: Sequence[int], limit: int
    ) -> Sequence[Row]:
        """As `fetch`, of every topic."""
        return await self._run(
            PAGE,
            lanes,
            positions,
            True,  # noqa: FBT003 - an argument of the statement
            limit,
            VALUE_BYTES_MAX,
            BATCH_BYTES_MAX,
        )

    async def register(
        self,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
        start: Sequence[int] | None = None,
    ) -> Registration:
        """Hold back retention from these positions on; None keeps the ones there are (D3)."""
        (row,) = await self._run(REGISTER, consumer, sorted(topics), positions, start)
        return registration(row)

    async def report(
        self, consumer: str, positions: Sequence[int]
    ) -> tuple[bool, int, datetime] | None:
        """Tell how far it was read. Whether the reader is still registered, and the horizon."""
        rows = await self._run(
            """
            WITH hurry AS (SELECT set_config('synchronous_commit', 'off', true))
            SELECT r.known, r.horizon, r.horizon_at
            FROM hurry, messaging.report_positions($1, $2) AS r
            """,
            consumer,
            list(positions),
        )
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    async def ends(self) -> list[int]:
        """The last seq of each lane, 0 if it has none."""
        rows = await self._run(
            """
            SELECT p.lane, last.seq FROM unnest($1::smallint[]) AS p (lane)
            CROSS JOIN LATERAL (
                SELECT seq FROM messaging.outbox AS r WHERE r.lane = p.lane
                ORDER BY seq DESC LIMIT 1
            ) AS last
            """,
            list(range(ALL_LANES)),
        )
        found = {row[0]: row[1] for row in rows}
        return [found.get(lane, 0) for lane in range(ALL_LANES)]

    async def is_replaced(
        self, positions: Sequence[int], last_ids: Sequence[UUID | None], horizon: int
    ) -> bool:
        """Whether a row at a position, while retained, is not the one that was read (D6)."""
        known = [
            (lane, seq, last_id)
            for lane, (seq, last_id) in enumerate(zip(positions, last_ids, strict=True))
            if last_id is not None and seq >= horizon
        ]
        rows = await self._run(
            """
            SELECT count(*) FROM unnest($1::smallint[], $2::bigint[], $3::uuid[])
                AS p (lane, seq, id)
            CROSS JOIN LATERAL (
                SELECT FROM messaging.outbox AS r
                WHERE r.lane = p.lane AND r.seq = p.seq AND r.id = p.id
            ) AS same
            """,
            [lane for lane, _, _ in known],
            [seq for _, seq, _ in known],
            [last_id for _, _, last_id in known],
        )
        return bool(rows[0][0] < len(known))

    async def close(self) -> None:
        """Close the connection. May be repeated."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=self._settings.close_timeout_seconds)

    async def _run(self, statement: str, *arguments: object) -> Sequence[Row]:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                raise TransientError(f"source {self.name} is not connected")
            statements.sent += 1
            try:
                rows: Sequence[Row] = await self._connection.fetch(statement, *arguments)
            except asyncpg.PostgresError as error:
                raise self._down(error) from error
            except DRIVER_ERRORS as error:
                self._drop()
                raise self._down(error) from error
            return rows

    def _drop(self) -> None:
        if self._connection is not None:
            discard(self._connection)
            self._connection = None

    def _hear(self, *_: object) -> None:
        self.notified()

    def _down(self, error: BaseException) -> TransientError:
        return TransientError(f"source {self.name}: {str(error) or type(error).__name__}")
