"""The platform on MariaDB or MySQL: databases, users, rights and tables; repeatable.

As on PostgreSQL each service has a database of its own and four users that see no other: an owner
(migrations, retention), a service user (run time: no DDL), a reader (the outbox) and an auditor
(SELECT, nothing else). Users are `name`@`%`.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from asyncmy.errors import MySQLError

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.adapters.mysql.connection import MysqlSettings, find_server
from waybill.messaging.adapters.mysql.errors import errno
from waybill.messaging.adapters.mysql.migrate import fetch_once
from waybill.messaging.adapters.mysql.migrate import upgrade as upgrade_messaging
from waybill.messaging.adapters.mysql.roles import grants
from waybill.messaging.core.errors import ConfigurationError, MessagingError, TransientError
from waybill.platform.chosen import COMMENT, refused
from waybill.platform.databases import urls_of
from waybill.platform.own_databases import (
    database_of,
    password_variable,
    roles_of,
    url_variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waybill.blueprints.definition import Blueprint
    from waybill.platform.own_databases import OwnDatabases

NO_ACCESS: Final = frozenset({1044, 1045, 1698})
NO_RIGHT: Final = frozenset({1142, 1143, 1227, 1370, 1419})
UNKNOWN_DATABASE: Final = 1049

_TOLD = """
SELECT table_comment FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'app_schema_version'
"""


async def upgrade(own: OwnDatabases, service: str, blueprint: Blueprint | None) -> None:
    """The tables and rights of one service, for a blueprint if one is named.

    Raises TransientError if its server is away, ConfigurationError if waiting cannot help.
    """
    commerce.known_revisions("mysql:", service)  # one that is not for here is told first
    owner, run_time, reader, _ = roles_of(service)
    url = urls_of(own, service).owner
    hint = f"run `waybill provision`, or set {password_variable(owner)} right"
    with explained(service, owner, hint):
        settings = MysqlSettings()
        await find_server(settings.connecting(url), answer_seconds=settings.answer_seconds)
        await upgrade_messaging(url)
        await commerce.upgrade(url, service, service_role=run_time)
        for statement in grants(run_time, reader):
            await fetch_once(url, statement)
        if blueprint is not None:
            await _claim(url, blueprint)


async def provision(
    own: OwnDatabases, service: str, administrator_url: str, administrator: str
) -> None:
    """The database, the users and what they may do; then the tables."""
    with explained(service, administrator, "set MYSQL_USER and MYSQL_PASSWORD right"):
        for statement in statements(own, service):
            await fetch_once(administrator_url, statement)
    await upgrade(own, service, None)


def statements(own: OwnDatabases, service: str) -> Iterator[str]:
    """What an administrator runs for one service."""
    roles = roles_of(service)
    for role in roles:
        own.url(database_of(service), role)  # tells what is missing
    name = unquote(urlsplit(own.places[database_of(service)]).path.lstrip("/"))
    covered = name.replace("_", r"\_")  # else it stands for any letter
    owner, run_time, _, auditor = roles
    yield f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4"
    for role in roles:
        password = own.passwords[role].replace("\\", r"\\").replace("'", "''")
        yield f"CREATE USER IF NOT EXISTS '{role}'@'%'"
        yield f"ALTER USER '{role}'@'%' IDENTIFIED BY '{password}'"
    yield f"GRANT ALL PRIVILEGES ON `{covered}`.* TO '{owner}'@'%' WITH GRANT OPTION"
    for role in (run_time, auditor):
        yield f"GRANT SELECT ON `{covered}`.* TO '{role}'@'%'"


async def _claim(url: str, blueprint: Blueprint) -> None:
    """The database is this blueprint's from now on; its version table tells (contracts C42)."""
    told = (await fetch_once(url, _TOLD))[0][0]
    found = re.search(rf"{COMMENT}(\S+)", told or "")
    if found is None:
        said = f"{COMMENT}{blueprint.name}"
        await fetch_once(url, f"ALTER TABLE app_schema_version COMMENT = '{said}'")
    elif found[1] != blueprint.name:
        place = (await fetch_once(url, "SELECT DATABASE()"))[0][0]
        raise refused(f"database {place}", found[1], blueprint.name)


@contextmanager
def explained(service: str, role: str, hint: str) -> Iterator[None]:
    """What waiting does not mend becomes a ConfigurationError, an outage a TransientError."""
    try:
        yield
    except ConfigurationError:
        raise
    except MessagingError as error:
        said: BaseException | None = error
        while said is not None and not isinstance(said, MySQLError):
            said = said.__cause__
        number = errno(said) if said is not None else 0
        if number in NO_ACCESS:
            message = f"the server of {service} refuses {role}: {said}: {hint}"
        elif number == UNKNOWN_DATABASE:
            message = f"{said}: run `waybill provision`, or set {url_variable(service)} right"
        elif number in NO_RIGHT:
            message = f"{role} may not prepare the database of {service}: {said}: {hint}"
        elif isinstance(error, TransientError):
            raise TransientError(f"the server of {service} is away: {error}") from error
        else:
            raise
        raise ConfigurationError(message) from error
