"""One session on a server: statements in, rows out, nothing of the driver beyond it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncmy
from asyncmy.constants import CLIENT, FIELD_TYPE
from asyncmy.converters import conversions, convert_datetime

from waybill.messaging.adapters.mysql.errors import DRIVER_ERRORS
from waybill.messaging.adapters.mysql.literals import render
from waybill.messaging.core.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncmy.connection import Connection

SCHEMES = ("mysql", "mariadb")
DEFAULT_PORT = 3306
OPTIONS = frozenset({"unix_socket", "ssl_ca", "ssl_cert", "ssl_key"})

_CHARACTER_BYTES_MAX = 4
_COMMAND_BYTES = 1


class MysqlRow:
    """One row; columns by name or by place."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: Sequence[Any]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, column: str | int, /) -> Any:  # noqa: ANN401 - SQL has no types here
        return self._values[column if isinstance(column, int) else self._places[column]]

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns, in order."""
        return tuple(self._places)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class MysqlSession:
    """A connection of asyncmy. One statement at a time."""

    __slots__ = ("_answer_seconds", "_packet_bytes_max", "connection")

    def __init__(
        self, connection: Connection, answer_seconds: float, packet_bytes_max: int | None = None
    ) -> None:
        self.connection = connection
        self._answer_seconds = answer_seconds
        self._packet_bytes_max = packet_bytes_max

    @property
    def is_open(self) -> bool:
        """Whether it was, when it was last used."""
        return bool(self.connection.connected)

    @property
    def is_in_transaction(self) -> bool:
        """What the server said with its last answer."""
        return self.is_open and bool(self.connection.get_transaction_status())

    async def run(self, statement: str, *arguments: object) -> tuple[int, list[MysqlRow]]:
        """The number of rows touched (or found), and the rows.

        Raises DRIVER_ERRORS, ValueError; PermanentError, unsent, for more than the server takes.
        """
        rendered = render(statement, arguments)
        if self._packet_bytes_max is not None:
            check_packet(rendered, self._packet_bytes_max)
        # Not the driver's own read_timeout: on Python 3.11 its wait_for() swallows a cancellation
        # that comes together with the answer, and a loop that was cancelled would run on.
        async with asyncio.timeout(self._answer_seconds), self.connection.cursor() as cursor:
            count = await cursor.execute(rendered)
            description: tuple[Any, ...] | None = cursor.description  # None without a result
            if description is None:
                return count, []
            places = {column[0]: place for place, column in enumerate(description)}
            return count, [MysqlRow(places, values) for values in await cursor.fetchall()]

    async def fetch(self, statement: str, *arguments: object) -> list[MysqlRow]:
        """Its rows."""
        return (await self.run(statement, *arguments))[1]

    def discard(self) -> None:
        """Close the socket without a word; one that is closed already stays so."""
        with suppress(*DRIVER_ERRORS):
            self.connection.close()

    async def close(self) -> None:
        """Say goodbye and close."""
        with suppress(*DRIVER_ERRORS):
            await self.connection.ensure_closed()


def check_packet(statement: str, bytes_max: int) -> None:
    """Raise PermanentError for a statement that the server would end the connection for.

    It may do so in the middle of it, which looks like an outage: then nobody would give up.
    """
    if len(statement) * _CHARACTER_BYTES_MAX < bytes_max:
        return
    size = len(statement.encode(errors="surrogateescape")) + _COMMAND_BYTES
    if size >= bytes_max:
        raise PermanentError(
            f"a statement of {size} bytes is too large for this server, whose max_allowed_packet "
            f"is {bytes_max}"
        )


def utc(text: str) -> datetime | str:
    """A DATETIME column; every one of ours is in UTC. What no datetime can hold stays text."""
    value = convert_datetime(text)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else text


def connecting(url: str, *, connect_seconds: float, program: str) -> dict[str, Any]:
    """The driver's arguments for `mysql://user:password@host:port/database?ssl_ca=...`.

    Raises ConfigurationError for a URL that is none of ours.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ConfigurationError(f"the database's URL is wrong: {error}") from error
    options = dict(parse_qsl(parts.query))
    unknown = set(options) - OPTIONS
    database = unquote(parts.path.lstrip("/"))
    if parts.scheme not in SCHEMES or not database or unknown:
        raise ConfigurationError(
            "a database on MariaDB or MySQL is named mysql://user:password@host:port/database, "
            f"with the options {', '.join(sorted(OPTIONS))}"
        )
    return {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
        "unix_socket": options.get("unix_socket"),
        "ssl": _tls(options),
        "charset": "utf8mb4",
        "autocommit": True,
        # An UPDATE counts what it found, not what it changed: as PostgreSQL does.
        "client_flag": CLIENT.FOUND_ROWS,
        "conv": {**conversions, FIELD_TYPE.DATETIME: utc, FIELD_TYPE.TIMESTAMP: utc},
        "connect_timeout": connect_seconds,
        "program_name": program,
    }


async def connect(
    arguments: Mapping[str, Any], variables: Mapping[str, str], *, answer_seconds: float
) -> MysqlSession:
    """A session whose variables are set. Raises DRIVER_ERRORS."""
    connection = await asyncmy.connect(**arguments, init_command=init_command(variables))
    return MysqlSession(connection, answer_seconds)


def init_command(variables: Mapping[str, str]) -> str | None:
    """What a new session says first, also after the pool replaced it."""
    return "SET " + ", ".join(f"{name} = {value}" for name, value in variables.items()) or None


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    if not options.keys() & {"ssl_ca", "ssl_cert"}:
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    return context
