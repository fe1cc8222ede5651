"""What the tests of adapters on PostgreSQL share: a probe table, and the raw outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.messaging.postgres.relay_world import RelayWorld

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.core.message import Message, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Transaction
    from waybill.messaging.testing.contracts.inbox import Verdict

READ = """
SELECT lane, seq, id, topic, type, aggregateid AS key, payload AS value, occurred_at, version,
       aggregatetype AS aggregate_type, aggregate_version, correlation_id, causation_id,
       traceparent, producer, headers
FROM messaging.outbox WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""


class TableProbe:
    """See contracts.transaction.Probe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self) -> None:
        """Make its table."""
        await self._database.fetch(
            "CREATE TABLE probe (n bigserial PRIMARY KEY, value text CONSTRAINT no_x CHECK "
            "(value <> 'x'), small smallint, unique_value text UNIQUE)"
        )

    async def write(self, transaction: Transaction, value: str) -> None:
        """Store a value."""
        await transaction.execute("INSERT INTO probe (value) VALUES ($1)", value)

    async def read(self) -> list[str]:
        """Committed values in order."""
        return [
            row["value"] for row in await self._database.fetch("SELECT * FROM probe ORDER BY n")
        ]


class OutboxRows:
    """See contracts.outbox.Reader."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, lane: int, after: int, limit: int) -> Sequence[Record]:
        """Records of a lane."""
        rows = await self._database.fetch(READ, lane, after, limit)
        return [_record(dict(row)) for row in rows]  # type: ignore[call-overload]


def _record(row: dict[str, object]) -> Record:
    row["headers"] = msgspec.json.decode(str(row["headers"]), type=dict[str, bytes])
    place = (int(str(row.pop("lane"))), int(str(row.pop("seq"))))
    return Record("", *place, msgspec.convert(row, Message, from_attributes=True))


class LetterRows:
    """See contracts.inbox.Letters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, consumer: str, message_id: UUID, verdict: Verdict) -> None:
        """Store one letter, all else empty."""
        await self._database.fetch(
            "INSERT INTO messaging.dead_letters (id, consumer, message_id, source, topic, lane,"
            " seq, key, value, type, version, aggregate_type, correlation_id, producer, headers,"
            " occurred_at, error_type, error_message, stacktrace, verdict) VALUES ($1, $2, $1, '',"
            " '', 0, 0, '', '', '', 1, '', '', '', '{}', now(), '', '', '', $3)",
            message_id,
            consumer,
            verdict,
        )


@pytest.fixture
async def database(messaging_database: str) -> AsyncIterator[PostgresDatabase]:
    """An open pool, with the owner's rights."""
    opened = await PostgresDatabase.connect(messaging_database)
    yield opened
    await opened.close()


@pytest.fixture
async def probe(database: PostgresDatabase) -> TableProbe:
    """See contracts.transaction."""
    made = TableProbe(database)
    await made.create()
    return made


@pytest.fixture
def read(database: PostgresDatabase) -> OutboxRows:
    """See contracts.outbox."""
    return OutboxRows(database)


@pytest.fixture
def letters(database: PostgresDatabase) -> LetterRows:
    """See contracts.inbox."""
    return LetterRows(database)


@pytest.fixture
async def world(messaging_database: str) -> AsyncIterator[RelayWorld]:
    """An outbox in relay mode, nothing running."""
    made = RelayWorld(messaging_database)
    await made.open()
    yield made
    await made.close()
