"""An outbox on MariaDB or MySQL and the relays of its service's instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.messaging.postgres.relay_world import SOURCE, RelayWorld

from waybill.messaging.adapters.mysql import relay_mode
from waybill.messaging.adapters.mysql.connection import MysqlDatabase, MysqlSettings
from waybill.messaging.adapters.mysql.outbox import MysqlOutbox
from waybill.messaging.adapters.mysql.relay_held import judge_held, list_held
from waybill.messaging.adapters.mysql.relay_store import MysqlRelayStore
from waybill.messaging.adapters.mysql.source import MysqlSource
from waybill.messaging.reading.settings import LogSettings

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.relay import HeldInfo, Verdict


class MysqlRelayWorld(RelayWorld):
    """As on PostgreSQL; what it asks the database is said in this one's words."""

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

    async def held_infos(self, *, with_skipped: bool = False) -> list[HeldInfo]:
        """As an operator sees them."""
        return await list_held(self.database, with_skipped=with_skipped)

    async def judge(self, message: Message, verdict: Verdict, why: str = "") -> set[UUID]:
        """An operator's word."""
        return await judge_held(self.database, [message.id], verdict, who="me", why=why)

    async def rewind(self) -> None:
        """Send all that is retained again."""
        await relay_mode.rewind(self.database, None)
