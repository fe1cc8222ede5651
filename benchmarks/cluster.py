"""Scratch PostgreSQL servers, all with the settings that `waybill up` gives its own.

A side begins on a copy of the same freshly provisioned data, so that no side pays for the rows of
another one. Everything is below one directory, which is removed at the end.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import database_of, provision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping


class CannotMeasureError(Exception):
    """What was asked for, or the place for it, does not do."""


class Scratch:
    """A directory of scratch data; `scratch` makes and removes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def copy(self, name: str, source: str = "template") -> Path:
        """A copy of the template (or of another copy) whose bytes are on the disk."""
        target = self.directory / name
        shutil.rmtree(target, ignore_errors=True)
        _run("cp", "-a", "--", str(self.directory / source), str(target))
        sync(target)
        return target

    @contextmanager
    def fresh(self, name: str) -> Iterator[Path]:
        """Freshly provisioned data for as long as this lasts."""
        data = self.copy(name)
        try:
            yield data
        finally:
            self.remove(data)

    def remove(self, data: Path) -> None:
        """Give the room back."""
        shutil.rmtree(data, ignore_errors=True)


@asynccontextmanager
async def scratch(parent: Path | None) -> AsyncIterator[Scratch]:
    """A directory with a freshly provisioned template; all of it is removed in the end."""
    directory = _directory(parent)
    template = directory / "template"
    try:
        async with EmbeddedPostgres(template) as server:
            if (template / "postgres").is_symlink():
                raise CannotMeasureError(
                    f"PostgreSQL's user cannot enter {directory}: name another place with --data"
                )
            await provision(server)
        yield Scratch(directory)
    finally:
        EmbeddedPostgres(template).remove()  # wherever its files are
        shutil.rmtree(directory, ignore_errors=True)


def sync(directory: Path) -> None:
    """Its file system's bytes are on the disk: else the next side would pay for writing them."""
    _run("sync", "--file-system", str(directory))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - the system's own, on our directories


def _directory(parent: Path | None) -> Path:
    """A new directory that PostgreSQL's own user may enter."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="waybill-ratios-", dir=parent))
    except OSError as error:
        raise CannotMeasureError(
            f"{parent} does not do for scratch data: {error.strerror}"
        ) from error
    directory.chmod(0o711)
    return directory


@asynccontextmanager
async def connected(
    data: Path, service: str = "", *, database: str = ""
) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection to a service's database on a server that runs."""
    name = database or (database_of(service) if service else "postgres")
    connection = await asyncpg.connect(EmbeddedPostgres(data).url(name))
    try:
        yield connection
    finally:
        await connection.close()


async def value(data: Path, service: str, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - the column's
    """The first column of the first row."""
    async with connected(data, service) as connection:
        return await connection.fetchval(statement, *arguments)


async def execute(data: Path, statements: Mapping[str, str]) -> None:
    """A script in each service's database."""
    for service, script in statements.items():
        async with connected(data, service) as connection:
            await connection.execute(script)


@asynccontextmanager
async def fresh_database(
    data: Path, name: str, schema: str = ""
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a new database of this name with this schema; an old one is dropped."""
    async with connected(data, database="postgres") as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
    async with connected(data, database=name) as connection:
        if schema:
            await connection.execute(schema)
        yield connection


@asynccontextmanager
async def held_snapshots(data: Path, databases: Iterable[str]) -> AsyncIterator[None]:
    """Nothing that was in these when this began can be vacuumed before it ends."""
    async with AsyncExitStack() as stack:
        for database in databases:
            connection = await stack.enter_async_context(connected(data, database=database))
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetchval("SELECT count(*) FROM pg_class")  # takes the snapshot
        yield
