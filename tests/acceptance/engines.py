"""A platform's databases on an engine: the embedded PostgreSQL, or a server of MariaDB or MySQL."""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID

from tests.acceptance import database
from tests.mariadb import Databases, of, server_url

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
    from collections.abc import Iterator, Sequence

    import pytest
    from tests.acceptance.processes import PlatformProcess

ID_BYTES = 16
SUPERUSER = "TESTS_SUPERUSER_URL"
"""Where a platform's environment says how its databases are looked into."""

_numbers = itertools.count(1)


@contextmanager
def on_engine(request: pytest.FixtureRequest, engine: str) -> Iterator[dict[str, str]]:
    """The environment of a platform on one of tests.mariadb.ENGINES; its databases are dropped."""
    if engine == "postgresql":
        yield {}
        return
    url = server_url(request, engine)
    environment = on_mariadb(url)
    yield environment
    for name in MYSQL_REVISIONS:
        asyncio.run(Databases(url).drop(environment[url_variable(name)]))


def on_mariadb(url: str) -> dict[str, str]:
    """The environment of a platform whose databases are on this server, each under a new name."""
    prefix, admin = f"w{os.getpid()}x{next(_numbers)}", urlsplit(url)
    places = {name: f"{prefix}{database_of(name)}" for name in MYSQL_REVISIONS}
    server = admin._replace(netloc=admin.netloc.rpartition("@")[2])
    environment = {
        # Roles are the server's: every platform of a run has the same passwords for them.
        **{password_variable(r): f"{r} secret" for name in places for r in roles_of(name)},
        **{
            url_variable(name): urlunsplit(server._replace(path=place))
            for name, place in places.items()
        },
        "MYSQL_USER": str(admin.username),
        SUPERUSER: url,
    }
    if admin.password:
        environment["MYSQL_PASSWORD"] = unquote(admin.password)
    return environment


def provisioned(platform: PlatformProcess) -> PlatformProcess:
    """With roles and databases, where they are not the embedded server's; not started."""
    if SUPERUSER in platform.environment:
        made = platform.run("provision")
        assert made.returncode == 0, made.stderr
    return platform


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
