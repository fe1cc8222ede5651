"""A look into a platform's databases, past its services."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SUPERUSER = "postgres"


def url_of(data: Path, service: str, role: str = SUPERUSER) -> str:
    """The URL of a service's database on this data directory."""
    return EmbeddedPostgres(data).url(database_of(service), role)


def rows_at(url: str, statement: str, *arguments: object) -> list[dict[str, Any]]:
    """What a statement gives in the database of this URL."""

    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(url)
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def rows(
    data: Path, service: str, statement: str, *arguments: object, role: str = SUPERUSER
) -> list[dict[str, Any]]:
    """What a statement gives in the database of `order`, `inventory`, …, as a role."""
    return rows_at(url_of(data, service, role), statement, *arguments)


def value(data: Path, service: str, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the column holds
    """The first column of the first row, or None."""
    found = rows(data, service, statement, *arguments)
    return next(iter(found[0].values())) if found else None


@contextmanager
def connected(data: Path, service: str) -> Iterator[Callable[[str], None]]:
    """Runs statements on one connection that is open from the beginning, as the superuser.

    A new one may need what is not there: on a full disk PostgreSQL refuses it if it must write
    its cache of the catalogue.
    """
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url_of(data, service)))
        try:
            yield lambda statement: runner.run(_execute(connection, statement))
        finally:
            connection.terminate()  # its server may be gone


async def _execute(connection: asyncpg.Connection, statement: str) -> None:
    await connection.execute(statement)
