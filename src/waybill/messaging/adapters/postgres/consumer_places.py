"""Where a consumer begins, on PostgreSQL: see reading.places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.registration import REGISTER, registration
from waybill.messaging.adapters.postgres.topics import lane_ends
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.places import ConsumerPlaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.standing import Registration

_TOPICS = "SELECT topics FROM messaging.consumer_source WHERE consumer = $1 AND source = $2"
_BEGIN = f"""
UPDATE messaging.consumer_source
SET positions = $3, start = $3, last_ids = array_fill(NULL::uuid, ARRAY[{ALL_LANES}]),
    lease_token = NULL, lease_until = NULL, system_identifier = $4, timeline = $5,
    horizon = $6, horizon_at = $7, updated_at = clock_timestamp()
WHERE consumer = $1 AND source = $2
"""  # noqa: S608 - constants
_ENSURE = """
INSERT INTO messaging.consumer_source (consumer, source, topics) VALUES ($1, $2, $3)
ON CONFLICT (consumer, source) DO NOTHING
"""


class PostgresConsumerPlaces(ConsumerPlaces):
    """See reading.places.ConsumerPlaces."""

    async def topics(
        self, consuming: Database, consumer: str, source_name: str
    ) -> Sequence[str] | None:
        """See ConsumerPlaces.topics."""
        rows = await consuming.fetch(_TOPICS, consumer, source_name)
        return rows[0]["topics"] if rows else None

    async def register(
        self,
        source: Database,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
    ) -> Registration:
        """See ConsumerPlaces.register."""
        (row,) = await source.fetch(REGISTER, consumer, topics, positions, positions)
        return registration(row)

    async def ends(self, source: Database) -> Sequence[int]:
        """See ConsumerPlaces.ends."""
        return await lane_ends(source)

    async def begin(
        self,
        consuming: Database,
        consumer: str,
        source_name: str,
        positions: Sequence[int],
        now: Registration,
    ) -> None:
        """See ConsumerPlaces.begin."""
        server = now.system_identifier, now.timeline
        place = *server, now.horizon, now.horizon_at
        await consuming.fetch(_BEGIN, consumer, source_name, positions, *place)

    async def ensure(
        self, consuming: Database, consumer: str, source_name: str, topics: Sequence[str]
    ) -> None:
        """See ConsumerPlaces.ensure."""
        await consuming.fetch(_ENSURE, consumer, source_name, topics)


PLACES = PostgresConsumerPlaces()
