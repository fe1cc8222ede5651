"""Which database this is, and since when: see the one of PostgreSQL.

The servers tell their age in whole seconds, so two looks at one server may differ by one: that is
a database too many, never one too few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.server import read_server

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

_AGE = "SHOW GLOBAL STATUS LIKE 'Uptime'"
_HERE = "SELECT UNIX_TIMESTAMP() AS now, DATABASE() AS name"


async def lineage(database: Database) -> str:
    """A text to tell it from every other database, and from itself before a restart."""
    server = await read_server(database)
    (age,), (here,) = await database.fetch(_AGE), await database.fetch(_HERE)
    return f"{server.identifier}/{int(here['now']) - int(age[1])}/{here['name']}"
