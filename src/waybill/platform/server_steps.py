"""What an administrator does on a PostgreSQL server, once: roles, rights, databases; repeatable.

The same statements run on the embedded server, in `waybill provision`, and as the script that
`waybill provision --sql` writes for psql. None needs a superuser: CREATEROLE and CREATEDB do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.platform.own_databases import (
    SERVICES,
    database_of,
    password_variable,
    roles_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OWNER_SEES: Final = "pg_read_all_stats"
"""Upkeep alarms old transactions, whosoever they are (protocol E4)."""

SESSION_LIMITS: Final = {
    "idle_in_transaction_session_timeout": "60s",
    "statement_timeout": "30s",
}
"""Of all but owners: a client that hangs must not hold a service for ever."""

SCRAM_ITERATIONS: Final = 4096
"""PostgreSQL's own number (scram_iterations)."""


@dataclass(frozen=True)
class Step:
    """One statement; not run if `unless` finds a row. `desired`: it goes on without it."""

    statement: str
    unless: str = ""
    desired: bool = False


def steps(service: str, password: Callable[[str], str]) -> Iterator[Step]:
    """Everything of one service; `password` gives a role's as it stands in SQL."""
    owner, *others = roles_of(service)
    for role in (owner, *others):
        known = f"SELECT FROM pg_roles WHERE rolname = '{role}'"
        yield Step(f"CREATE ROLE {role}", unless=known)
        yield Step(f"ALTER ROLE {role} LOGIN PASSWORD {password(role)}")
    for role in others:
        for name, value in SESSION_LIMITS.items():
            yield Step(f"ALTER ROLE {role} SET {name} = '{value}'")
    yield Step(f"GRANT {OWNER_SEES} TO {owner}", desired=True)
    database = database_of(service)
    known = f"SELECT FROM pg_database WHERE datname = '{database}'"
    # Who is no superuser makes a database for a role that it is a member of.
    yield Step(f"GRANT {owner} TO CURRENT_USER")
    yield Step(f"CREATE DATABASE {database} OWNER {owner}", unless=known)
    yield Step(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    yield Step(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(others)}")
    yield Step(f"REVOKE {owner} FROM CURRENT_USER")


def script(services: Iterable[str] = SERVICES) -> Iterator[str]:
    """The steps as lines for psql, which reads the passwords from the environment."""
    yield "-- Roles and databases of the order platform. Written by: waybill provision --sql"
    yield "-- Run it as an administrator, with the passwords in the environment: psql -f FILE"
    yield "-- It may be repeated. The services make their tables themselves: waybill migrate"
    yield r"\set ON_ERROR_STOP on"
    for service in services:
        yield ""
        for role in roles_of(service):
            yield rf"\getenv {role} {password_variable(role)}"
        for step in steps(service, lambda role: f":'{role}'"):
            if step.unless:
                asked = step.statement.replace("'", "''")
                yield rf"SELECT '{asked}' WHERE NOT EXISTS ({step.unless}) \gexec"
            else:
                yield f"{step.statement};"


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that its log never sees the password.

    For printable ASCII, which SASLprep leaves as it is.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored, server)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"
