"""An outbox on MariaDB or MySQL and the relays of its service's instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.messaging.postgres.relay_world import SOURCE, RelayWorld

from waybill.messaging.adapters.mysql import relay_mode
from waybill.messaging.adapters.mysql.connection import MysqlDatabase, MysqlSettings
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.relay_store import MysqlRelayStore
from waybill.messaging.adapters.mysql.source import MysqlSource
from waybill.messaging.engines.mysql import MysqlEngine
from waybill.messaging.reading.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row
    from waybill.messaging.core.relay_start import Drained
    from waybill.messaging.engines.port import Engine


class MysqlRelayWorld(RelayWorld):
    """As on PostgreSQL; what it asks the database is said in this one's words."""

    engine: Engine = MysqlEngine()

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.outbox = MysqlOutbox(doorbell=self.bell.ring)

    async def open(self) -> None:
        """Connect, and let the outbox feed the log."""
        self.database = await MysqlDatabase.connect(self.url, MysqlSettings(pool_max=10))
        await self.store().attach(self.log.log_identity)

    def store(self, **changes: Any) -> MysqlRelayStore:  # noqa: ANN401 - passed on
        """An instance's half of the outbox."""
        source = MysqlSource(SOURCE, self.url, application_name="relay", settings=LogSettings())
        changes.setdefault("rewind_seconds", 60.0)
        return MysqlRelayStore(SOURCE, self.database, source, **changes)

    async def positions(self) -> list[int]:
        """As stored, by lane."""
        rows = await self.database.fetch("SELECT position FROM messaging_outbox_lane ORDER BY lane")
        return [row[0] for row in rows]

    async def owners(self) -> list[int]:
        """How many lanes each member that lives has, by the database."""
        rows = await self.database.fetch(
            "SELECT token, count(*) AS lanes FROM messaging_outbox_lane "
            "WHERE lease_until > NOW(6) GROUP BY token ORDER BY lanes DESC"
        )
        return [row["lanes"] for row in rows]

    async def lag(self) -> int:
        """Rows above the stored positions."""
        (row,) = await self.database.fetch(
            "SELECT count(*) FROM messaging_outbox AS o JOIN messaging_outbox_lane AS l "
            "ON l.lane = o.lane AND o.seq > l.position"
        )
        return int(row[0])

    async def held(self) -> list[tuple[str, str]]:
        """Key and state of what is held, by seq."""
        rows = await self.database.fetch(
            "SELECT aggregateid, state FROM messaging_outbox_held ORDER BY seq"
        )
        return [(row[0], row[1]) for row in rows]

    async def drain(self) -> Drained:
        """What `waybill drain` does to one outbox."""
        return await relay_mode.drain(self.database)

    async def move_to_another_server(self) -> None:
        """Let it look so, as after a restore."""
        await self.run("UPDATE messaging.outbox_meta SET system_identifier = 'another'")

    async def run(self, statement: str, *arguments: object) -> Sequence[Row]:
        """See RelayWorld.run."""
        return await self.database.fetch(statement.replace("messaging.", "messaging_"), *arguments)
