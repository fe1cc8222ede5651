"""A platform's databases on either engine: the embedded PostgreSQL, or a MariaDB server."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from tests.acceptance import database
from tests.mariadb import of

from waybill.commerce.migrations.migrate import MYSQL_REVISIONS
from waybill.commerce.tables import by_prefix
from waybill.messaging.adapters.mysql.connection import MysqlDatabase
from waybill.platform.own_databases import (
    database_of,
    password_variable,
    roles_of,
    url_variable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.processes import PlatformProcess

ID_BYTES = 16
SUPERUSER = "TESTS_SUPERUSER_URL"
"""Where a platform's environment says how its databases are looked into."""

_numbers = itertools.count(1)


def on_mariadb(url: str) -> dict[str, str]:
    """The environment of a platform whose databases are on this server, each under a new name."""
    prefix, admin = f"w{os.getpid()}x{next(_numbers)}", urlsplit(url)
    places = {name: f"{prefix}{database_of(name)}" for name in MYSQL_REVISIONS}
    return {
        # Roles are the server's: every platform of a run has the same passwords for them.
        **{password_variable(r): f"{r} secret" for name in places for r in roles_of(name)},
        **{url_variable(name): f"mysql:///{place}?{admin.query}" for name, place in places.items()},
        "MYSQL_USER": str(admin.username),
        SUPERUSER: url,
    }


def rows(
    platform: PlatformProcess, service: str, statement: str, *arguments: object
) -> list[dict[str, Any]]:
    """What a statement of PostgreSQL's gives; on MariaDB said with that engine's names."""
    if SUPERUSER not in platform.environment:
        return database.rows(platform.data, service, statement, *arguments)
    place = urlsplit(platform.environment[url_variable(service)]).path.lstrip("/")
    url = of(platform.environment[SUPERUSER], place)
    return asyncio.run(_fetch(url, by_prefix(statement), arguments))


def value(platform: PlatformProcess, service: str, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the column holds
    """The first column of the first row, or None."""
    found = rows(platform, service, statement, *arguments)
    return next(iter(found[0].values())) if found else None


async def _fetch(url: str, statement: str, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
    opened = await MysqlDatabase.connect(url)
    try:
        async with opened.transaction() as transaction:
            found: Sequence[Any] = await transaction.fetch(statement, *arguments)
        return [dict(zip(row.names, map(_id_or_plain, row), strict=True)) for row in found]
    finally:
        await opened.close()


def _id_or_plain(value: object) -> object:
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == ID_BYTES else value
