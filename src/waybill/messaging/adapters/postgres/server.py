"""What kind of server a connection reached, and whether messaging may stand on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row

OLDEST_VERSION = 150000


class Fetching(Protocol):
    """A Database, or a connection or pool of asyncpg."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


@dataclass(frozen=True)
class Server:
    """One server. Another identifier or timeline means that it was restored (protocol D6)."""

    version: int
    system_identifier: str
    timeline: int
    in_recovery: bool
    fsync: bool
    database: str


async def read_server(connection: Fetching) -> Server:
    """Ask the server. Needs no right beyond connecting; the timeline is 0 on a replica."""
    rows = await connection.fetch(
        """
        SELECT current_setting('server_version_num')::integer AS version,
               (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
               CASE WHEN pg_is_in_recovery() THEN 0
                    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
               END AS timeline,
               pg_is_in_recovery() AS in_recovery,
               current_setting('fsync') = 'on' AS fsync,
               current_database() AS database
        """
    )
    row = rows[0]
    return Server(
        version=row["version"],
        system_identifier=row["system_identifier"],
        timeline=row["timeline"],
        in_recovery=row["in_recovery"],
        fsync=row["fsync"],
        database=row["database"],
    )


async def checked_server(connection: Fetching) -> Server:
    """The server, if messaging may stand on it; else ConfigurationError."""
    server = await read_server(connection)
    problem = refusal(server)
    if problem is not None:
        raise ConfigurationError(problem)
    return server


def refusal(server: Server) -> str | None:
    """Why this server must not be used, with what to do; None if it may."""
    where = f"the server of database {server.database}"
    if server.version < OLDEST_VERSION:
        return (
            f"{where} is PostgreSQL {server.version // 10000}: "
            "messaging needs 15 or later, upgrade the server"
        )
    if server.in_recovery:
        return f"{where} is a replica: give the URL of the primary (protocol D8)"
    if not server.fsync:
        return (
            f"{where} runs with fsync=off and would lose committed messages: "
            "set fsync=on and restart it (protocol O3)"
        )
    return None
