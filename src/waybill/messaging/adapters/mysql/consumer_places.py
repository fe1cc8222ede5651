"""Where a consumer begins, on MariaDB and MySQL: see reading.places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import encoded, texts
from waybill.messaging.adapters.mysql.positions import ENSURE
from waybill.messaging.adapters.mysql.registration import register
from waybill.messaging.adapters.mysql.server import read_server
from waybill.messaging.adapters.mysql.topics import TOPICS
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.places import ConsumerPlaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.standing import Registration

_TOPICS = "SELECT topics FROM messaging_consumer_source WHERE consumer = $1 AND source = $2"
_BEGIN = """
UPDATE messaging_consumer_source
SET positions = $3, start = $3, last_ids = $4, lease_token = NULL, lease_until = NULL,
    system_identifier = $5, timeline = $6, horizon = $7, horizon_at = $8, updated_at = NOW(6)
WHERE consumer = $1 AND source = $2
"""


class MysqlConsumerPlaces(ConsumerPlaces):
    """See reading.places.ConsumerPlaces."""

    async def topics(
        self, consuming: Database, consumer: str, source_name: str
    ) -> Sequence[str] | None:
        """See ConsumerPlaces.topics."""
        rows = await consuming.fetch(_TOPICS, consumer, source_name)
        return texts(rows[0]["topics"]) if rows else None

    async def register(
        self,
        source: Database,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
    ) -> Registration:
        """See ConsumerPlaces.register."""
        server = await read_server(source)
        async with source.transaction() as transaction:
            return await register(
                transaction, server, consumer, topics, positions=positions, start=positions
            )

    async def ends(self, source: Database) -> Sequence[int]:
        """See ConsumerPlaces.ends."""
        return await TOPICS.lane_ends(source)

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
        places = encoded(positions), encoded([None] * ALL_LANES)
        place = *places, *server, now.horizon, now.horizon_at
        await consuming.fetch(_BEGIN, consumer, source_name, *place)

    async def ensure(
        self, consuming: Database, consumer: str, source_name: str, topics: Sequence[str]
    ) -> None:
        """See ConsumerPlaces.ensure."""
        await consuming.fetch(ENSURE, [(consumer, source_name, encoded(topics))])


PLACES = MysqlConsumerPlaces()
