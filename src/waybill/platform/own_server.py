"""The platform on servers of the user's: `waybill provision` once, `waybill migrate` at a release.

A service brings its own tables up to date when it starts, and waits for a server that is away.
What cannot work (a wrong password, a missing right, a replica) is one line that says what to do.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from waybill.messaging.adapters.postgres.errors import translated
from waybill.messaging.adapters.postgres.server import checked_server
from waybill.messaging.core.errors import ConfigurationError, MessagingError, TransientError
from waybill.platform.chosen import claim_database
from waybill.platform.databases import urls_of
from waybill.platform.own_databases import (
    database_of,
    password_variable,
    roles_of,
    secret,
    url_variable,
)
from waybill.platform.provisioning import SIMULATOR, migrate
from waybill.platform.server_steps import scram_verifier, steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from waybill.blueprints.definition import Blueprint
    from waybill.platform.own_databases import OwnDatabases

RETRY_SECONDS: Final = 2.0
SALT_BYTES: Final = 16
ADMINISTRATOR, ADMINISTRATORS_DATABASE = "POSTGRES_USER", "POSTGRES_DB"
ADMINISTRATORS_PASSWORD: Final = "POSTGRES_PASSWORD"  # noqa: S105 - a variable's name
MYSQL_ADMINISTRATOR, MYSQL_PASSWORD = "MYSQL_USER", "MYSQL_PASSWORD"
"""The same of a server of MariaDB or MySQL; its database is always `mysql`."""
REFUSED_LOGIN: Final = "28"
"""SQLSTATE class: no such role, a wrong password, an address that pg_hba.conf keeps out."""


@dataclass(frozen=True)
class Administrator:
    """Who makes roles and databases: seed 004's POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB.

    On MariaDB and MySQL: MYSQL_USER, MYSQL_PASSWORD.
    """

    role: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, on_mysql: bool = False
    ) -> Administrator:
        """Raises ConfigurationError naming what is missing."""
        given = {name: text for name, text in environment.items() if text.strip()}
        role, secret_of, database = ADMINISTRATOR, ADMINISTRATORS_PASSWORD, "mysql"
        if on_mysql:
            role, secret_of = MYSQL_ADMINISTRATOR, MYSQL_PASSWORD
        else:
            database = given.get(ADMINISTRATORS_DATABASE, "postgres")
        mistakes: list[str] = []
        password = secret(given, secret_of, mistakes)
        if role not in given:
            mistakes.append(f"{role} is not set: the role that may make others")
        if mistakes:
            raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
        return cls(given[role], password or "", database)

    def url(self, place: str) -> str:
        """Of the server that a database is on."""
        parts = urlsplit(place)
        password = f":{quote(self.password, safe='')}" if self.password else ""
        login = f"{quote(self.role, safe='')}{password}@{parts.netloc}"
        return urlunsplit(parts._replace(netloc=login, path=f"/{quote(self.database, safe='')}"))


def tables_of(services: Iterable[str]) -> Iterator[str]:
    """The databases' services: the payment service keeps the simulator's ledger, too."""
    for service in services:
        yield service
        if service == "payment":
            yield SIMULATOR


def check_engine(own: OwnDatabases, blueprint: Blueprint) -> None:
    """That every service of the blueprint has tables on this kind of server; connects to none.

    Raises ConfigurationError, whichever of its services this process runs.
    """
    lacking = {each.database for each in blueprint.services.values()} - set(own.services)
    if lacking:
        raise ConfigurationError(
            f"the blueprint {blueprint.name} needs PostgreSQL: on MariaDB and MySQL there are no "
            f"tables for {', '.join(sorted(lacking))}, and only blueprints run whose databases are "
            f"among {', '.join(own.services)}"
        )


async def prepare(
    own: OwnDatabases,
    services: Iterable[str],
    *,
    blueprint: Blueprint,
    progress: Callable[[str], None],
) -> None:
    """Bring the tables of these services to this release, however long a server is away.

    They are this blueprint's from now on (contracts C42).

    Raises ConfigurationError if waiting cannot help; no database is claimed for a blueprint that
    cannot run here.
    """
    check_engine(own, blueprint)
    for service in tables_of(services):
        while True:
            try:
                await upgrade(own, service, blueprint)
            except TransientError as error:
                progress(f"{error}: trying again")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break


async def upgrade(own: OwnDatabases, service: str, blueprint: Blueprint | None = None) -> None:
    """The tables of one service, for a blueprint if one is named.

    Raises TransientError if its server is away.
    """
    if own.on_mysql:
        # Needs the extra `mysql`.
        from waybill.platform import mysql_server  # noqa: PLC0415

        await mysql_server.upgrade(own, service, blueprint)
        return
    owner = roles_of(service)[0]
    url = urls_of(own, service).owner
    hint = f"run `waybill provision`, or set {password_variable(owner)} right"
    with _explained(service, owner, hint):
        connection = await asyncpg.connect(url)
        try:
            await checked_server(connection)
        finally:
            await connection.close()
        await migrate(own, service)
        if blueprint is not None and service != SIMULATOR:
            connection = await asyncpg.connect(url)
            try:
                await claim_database(connection, blueprint)
            finally:
                await connection.close()


async def provision_server(
    own: OwnDatabases,
    administrator: Administrator,
    services: Iterable[str],
    *,
    progress: Callable[[str], None],
) -> None:
    """Make what is missing, set passwords and rights anew, then the tables; may be repeated.

    Raises ConfigurationError if the administrator may not.
    """
    for service in services:
        if own.on_mysql:
            # Needs the extra `mysql`.
            from waybill.platform import mysql_server  # noqa: PLC0415

            place = own.places.get(database_of(service), "mysql:")
            url, role = administrator.url(place), administrator.role
            await mysql_server.provision(own, service, url, role)
            progress(f"{service}: {database_of(service)} is ready")
            continue
        passwords = {role: _needed(own, service, role) for role in roles_of(service)}
        place = own.places[database_of(service)]
        async with _administering(administrator, service, place) as connection:
            for step in steps(service, passwords.__getitem__):
                if step.unless and await connection.fetch(step.unless):
                    continue
                try:
                    await connection.execute(step.statement)
                except asyncpg.InsufficientPrivilegeError:
                    if not step.desired:
                        raise
                    progress(f"{administrator.role} may not, and it goes without: {step.statement}")
        await upgrade(own, service)
        progress(f"{service}: {database_of(service)} is ready")


def _needed(own: OwnDatabases, service: str, role: str) -> str:
    own.url(database_of(service), role)  # tells what is missing
    verifier = scram_verifier(own.passwords[role], secrets.token_bytes(SALT_BYTES))
    return f"'{verifier}'"


@asynccontextmanager
async def _administering(
    administrator: Administrator, service: str, place: str
) -> AsyncIterator[asyncpg.Connection]:
    hint = f"set {ADMINISTRATOR} and {ADMINISTRATORS_PASSWORD} right"
    with _explained(service, administrator.role, hint):
        connection = await asyncpg.connect(administrator.url(place))
        try:
            await checked_server(connection)
            yield connection
        finally:
            await connection.close()


@contextmanager
def _explained(service: str, role: str, hint: str) -> Iterator[None]:
    """What waiting does not mend becomes a ConfigurationError, an outage a TransientError."""
    try:
        with translated():
            yield
    except ValueError as error:
        raise ConfigurationError(f"{url_variable(service)}: {error}") from error
    except MessagingError as error:
        said = _said_by_the_server(error)
        match getattr(said, "sqlstate", None) or "":
            case "3D000":
                message = f"{said}: run `waybill provision`, or set {url_variable(service)} right"
            case "42501":
                message = (
                    f"{role} may not prepare the database of {service}: {said}: have an "
                    "administrator run the script that `waybill provision --sql` writes"
                )
            case sqlstate if sqlstate.startswith(REFUSED_LOGIN):
                message = f"the server of {service} refuses {role}: {said}: {hint}"
            case _ if isinstance(error, TransientError):
                raise TransientError(f"the server of {service} is away: {error}") from error
            case _:
                raise
        raise ConfigurationError(message) from error


def _said_by_the_server(error: BaseException | None) -> BaseException | None:
    while error is not None and not isinstance(error, asyncpg.PostgresError):
        error = error.__cause__
    return error
