"""What kind of server a connection reached, and whether messaging may stand on it.

Every difference between MariaDB and MySQL that this adapter knows of is in this file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row

OLDEST_MARIADB = (10, 6)
OLDEST_MYSQL = (8, 0)
"""SKIP LOCKED, and columns whose default is an expression."""

ENVELOPE_ROOM_BYTES = 1024 * 1024
"""Of a statement, beside the value, key and headers of its one message."""

_VARIABLES = """
SHOW GLOBAL VARIABLES WHERE Variable_name IN (
    'version', 'read_only', 'innodb_flush_log_at_trx_commit', 'server_uid', 'server_uuid',
    'max_allowed_packet', 'wsrep_on',
    'group_replication_group_name', 'group_replication_single_primary_mode'
)
"""


class Fetching(Protocol):
    """A Database, a Transaction, or a connection of this adapter."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


@dataclass(frozen=True)
class Server:
    """One server. Another identifier means that its data was restored elsewhere (protocol D6)."""

    is_mariadb: bool
    version: tuple[int, ...]
    identifier: str
    read_only: bool
    is_durable: bool
    has_many_writers: bool
    """Galera, or group replication with several primaries: locks hold on one node only."""
    packet_bytes_max: int
    """Its max_allowed_packet: of a statement with all its values, and of a row."""

    @property
    def name(self) -> str:
        """Product and version, as an operator knows them."""
        product = "MariaDB" if self.is_mariadb else "MySQL"
        return f"{product} {'.'.join(map(str, self.version))}"

    @property
    def collation(self) -> str:
        """Compares text byte by byte, spaces at its end included."""
        return "utf8mb4_nopad_bin" if self.is_mariadb else "utf8mb4_0900_bin"

    def session(
        self, *, statement_seconds: float, lock_seconds: float, idle_seconds: float
    ) -> dict[str, str]:
        """Variables of every session, as SQL. Lock time-outs are whole seconds on both servers."""
        variables = {
            "sql_mode": "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
            "time_zone": "'+00:00'",
            # What a statement brings along compares as the columns do.
            "collation_connection": f"'{self.collation}'",
            "auto_increment_increment": "1",
            "auto_increment_offset": "1",
            "innodb_lock_wait_timeout": str(max(1, round(lock_seconds))),
            "lock_wait_timeout": str(max(1, round(lock_seconds))),
        }
        if self.is_mariadb:
            variables["tx_isolation"] = "'READ-COMMITTED'"
            variables["max_statement_time"] = f"{statement_seconds:.3f}"
            variables["idle_transaction_timeout"] = str(max(1, round(idle_seconds)))
        else:
            # MySQL bounds SELECT only, and has nothing against an idle transaction.
            variables["transaction_isolation"] = "'READ-COMMITTED'"
            variables["max_execution_time"] = str(max(1, round(statement_seconds * 1000)))
        return variables


async def read_server(connection: Fetching) -> Server:
    """Ask the server. Needs no right beyond connecting."""
    variables = {str(row[0]): str(row[1]) for row in await connection.fetch(_VARIABLES)}
    version = variables["version"]
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    many_primaries = (
        bool(variables.get("group_replication_group_name"))
        and variables.get("group_replication_single_primary_mode") == "OFF"
    )
    return Server(
        is_mariadb="mariadb" in version.lower(),
        version=tuple(int(part) for part in numbers.groups()) if numbers else (0,),
        identifier=variables.get("server_uuid") or variables.get("server_uid", ""),
        read_only=variables.get("read_only", "OFF") != "OFF",
        is_durable=variables.get("innodb_flush_log_at_trx_commit") == "1",
        has_many_writers=variables.get("wsrep_on") == "ON" or many_primaries,
        packet_bytes_max=int(variables["max_allowed_packet"]),
    )


async def checked_server(connection: Fetching) -> Server:
    """The server, if messaging may stand on it; else ConfigurationError."""
    server = await read_server(connection)
    problem = refusal(server)
    if problem is not None:
        raise ConfigurationError(problem)
    return server


def check_message_bytes(server: Server, message_bytes_max: int) -> None:
    """Raise ConfigurationError if a statement cannot carry such a message, all of it escaped."""
    needed = 2 * message_bytes_max + ENVELOPE_ROOM_BYTES
    if needed > server.packet_bytes_max:
        raise ConfigurationError(
            f"message_bytes_max is {message_bytes_max}, and a statement with such a message may "
            f"take {needed} bytes: raise max_allowed_packet of {server.name}, now "
            f"{server.packet_bytes_max}"
        )


def refusal(server: Server) -> str | None:
    """Why this server must not be used, with what to do; None if it may."""
    oldest = OLDEST_MARIADB if server.is_mariadb else OLDEST_MYSQL
    if server.version < oldest:
        return f"this is {server.name}: messaging needs MariaDB 10.6 or MySQL 8.0, or later"
    if server.read_only:
        return f"{server.name} is read only, as replicas are: give the primary's URL (protocol D8)"
    if not server.is_durable:
        return (
            f"{server.name} would lose committed messages: set innodb_flush_log_at_trx_commit=1 "
            "(protocol O3)"
        )
    if server.has_many_writers:
        return (
            f"{server.name} takes writes on several nodes, where a row lock holds on one only: "
            "messages could be passed over. Use one primary with replicas (protocol O5)"
        )
    return None
