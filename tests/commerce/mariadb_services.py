"""The services' databases on MariaDB: migrated once a run, emptied after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mariadb import Databases

from waybill.commerce.migrations.migrate import upgrade as upgrade_service
from waybill.commerce.migrations.mysql.inventory.r0001_stock import SEED_LEDGER, SEED_PRODUCTS
from waybill.messaging.adapters.mysql.migrate import fetch_once, upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = frozenset(
    {
        "app_schema_version",
        "messaging_schema_version",
        "messaging_outbox_meta",
        "messaging_outbox_lane",
        "messaging_outbox_lock",
    }
)
_TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'
"""


class MariadbServices:
    """URLs by service; a database is made when it is first asked for."""

    def __init__(self, url: str) -> None:
        self._server = Databases(url)
        self._urls: dict[str, str] = {}

    async def ready(self, service: str) -> str:
        """The superuser's URL of that service's database, as its migrations left it."""
        if service not in self._urls:
            url = await self._server.make()
            await upgrade(url)
            await upgrade_service(url, service)
            self._urls[service] = url
        return self._urls[service]

    async def empty(self, service: str) -> None:
        """As it was when it was made, but for the outbox's next number."""
        url = self._urls[service]
        tables: Sequence[str] = [row[0] for row in await fetch_once(url, _TABLES)]
        for table in sorted({*tables} - KEPT):
            await fetch_once(url, f"DELETE FROM {table}")  # noqa: S608 - a name of our own
        if service == "inventory":
            for statement in (SEED_PRODUCTS, SEED_LEDGER):
                await fetch_once(url, statement)
