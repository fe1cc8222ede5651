"""Databases on servers of one's own: where each one is, and its roles' passwords.

Places are URLs without a name or a password in them; a password comes from its variable or from
a file that `<variable>_FILE` names, never from a command line or a URL (promises, secrets).
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a dataclass's field
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.core.database_url import MYSQL_SCHEMES, is_mysql
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import secret_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN: Final = (*commerce.REVISIONS, *commerce.OPTIONAL_REVISIONS)
"""Every service that has a database in some blueprint, and those that stand beside them."""
SERVICES: Final = ("order", "inventory", "payment", "notification", "provider")
"""Those whose databases a platform has, whatever its blueprint."""
KINDS: Final = ("owner", "service", "reader", "auditor")
HOST, PORT = "POSTGRES_HOST", "POSTGRES_PORT"
"""Seed 004's names: one server for every database that has no URL of its own."""
DEFAULT_PORT: Final = 5432


def database_of(service: str) -> str:
    """The documented name of the service's database."""
    return f"{service}db"


def roles_of(service: str) -> tuple[str, str, str, str]:
    """Its owner, service, reader and auditor role."""
    owner, run_time, reader, auditor = (f"{service}_{kind}" for kind in KINDS)
    return owner, run_time, reader, auditor


def url_variable(service: str) -> str:
    """Where its database is."""
    return f"WAYBILL_{service.upper()}_DATABASE_URL"


def password_variable(role: str) -> str:
    """Its password; with `_FILE` behind it, the file that holds it."""
    return f"WAYBILL_{role.upper()}_PASSWORD"


def variables() -> Iterator[str]:
    """Every variable of ours that is read here."""
    for service in KNOWN:
        yield url_variable(service)
        for role in roles_of(service):
            yield password_variable(role)
            yield f"{password_variable(role)}_FILE"


@dataclass(frozen=True)
class OwnDatabases:
    """Places by database name, passwords by role. What a process does not use may be missing."""

    places: Mapping[str, str]
    passwords: Mapping[str, str] = field(repr=False)

    @property
    def on_mysql(self) -> bool:
        """Whether these are MariaDB's or MySQL's; else they are PostgreSQL's. Never both."""
        return any(is_mysql(place) for place in self.places.values())

    @property
    def services(self) -> tuple[str, ...]:
        """Whose databases there can be."""
        return tuple(commerce.MYSQL_REVISIONS) if self.on_mysql else KNOWN

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> OwnDatabases | None:
        """None if no database is named: the platform then runs its own PostgreSQL.

        Raises ConfigurationError with every mistake in one line.
        """
        given = {name: text for name, text in environment.items() if text.strip()}
        mistakes: list[str] = []
        places = dict(_places(given, mistakes))
        if not places and not mistakes:
            return None
        if len({is_mysql(place) for place in places.values() if place}) > 1:
            mistakes.append(
                "some databases are PostgreSQL's and some MariaDB's or MySQL's: one service reads "
                "another's outbox, so keep to one kind"
            )
        roles = [role for service in KNOWN for role in roles_of(service)]
        passwords = {
            role: password
            for role in roles
            if (password := secret(given, password_variable(role), mistakes))
        }
        if mistakes:
            raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
        return cls(places, passwords)

    def url(self, database: str, role: str) -> str:
        """A URL for the driver. Raises ConfigurationError that says what to set."""
        service = role.rpartition("_")[0]
        missing = []
        if database not in self.places:
            missing.append(f"{url_variable(service)} (or {HOST})")
        if role not in self.passwords:
            missing.append(f"{password_variable(role)} (or {password_variable(role)}_FILE)")
        if missing:
            raise ConfigurationError(_not_configured(service, role, missing))
        place = urlsplit(self.places[database])
        login = f"{quote(role)}:{quote(self.passwords[role], safe='')}@{place.netloc}"
        return urlunsplit(place._replace(netloc=login))


def secret(given: Mapping[str, str], variable: str, mistakes: list[str]) -> str | None:
    """A password from its variable or its file; None if there is none, or a mistake in it."""
    try:
        found = secret_of(given, variable)
    except ConfigurationError as error:
        mistakes.append(str(error))
        return None
    if found and (not found.isascii() or not found.isprintable()):
        mistakes.append(f"{variable} must be of printable ASCII letters")
    return found or None


def _places(given: Mapping[str, str], mistakes: list[str]) -> Iterator[tuple[str, str]]:
    host, port = given.get(HOST), given.get(PORT, str(DEFAULT_PORT))
    if host is not None and (not port.isdecimal() or not 0 < int(port) <= 65_535):  # noqa: PLR2004 - TCP's
        mistakes.append(f"{PORT}={port}: it must be a port, 1 to 65535")
    for service in KNOWN:
        database, variable = database_of(service), url_variable(service)
        if (url := given.get(variable)) is not None:
            problem, place = _checked(url.strip(), database)
            if problem:
                mistakes.append(f"{variable}: {problem}")
            yield database, place
        elif host is not None:
            around = f"[{host}]" if ":" in host else host
            yield database, f"postgresql://{around}:{port}/{database}"


def _checked(url: str, database: str) -> tuple[str, str]:
    """What is wrong with the URL, if anything, and the place; the URL itself is not shown."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"it is no URL: {error}", ""
    if parts.scheme not in {"postgresql", "postgres", *MYSQL_SCHEMES}:
        example = f"postgresql://host:5432/{database}"
        return f"it must begin with postgresql:// (or mysql://), as in {example}", ""
    if "@" in parts.netloc or "password=" in parts.query or "user=" in parts.query:
        return "it must hold no user and no password: roles and passwords have their own names", ""
    named_in = "unix_socket=" if is_mysql(url) else "host="
    if not parts.netloc and named_in not in parts.query:
        return f"it names no host, as in postgresql://host:5432/{database}", ""
    return "", urlunsplit(parts._replace(path=f"/{parts.path.strip('/') or database}"))


def _not_configured(service: str, role: str, missing: list[str]) -> str:
    wanted = f"the database of {service} cannot be reached as {role}: set {' and '.join(missing)}"
    if role.endswith("_reader"):
        return f"{wanted}, or KAFKA_BROKERS, with which nobody reads another's database"
    return wanted
