"""What the simulation needs to know of the engine that the services' databases are on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from tests.state_machine.books import Auditor
from tests.state_machine.databases import Databases

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.lease import release_all
from waybill.messaging.engines.postgres import PostgresEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest
    from tests.state_machine.virtual_time import VirtualLoop

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.engines.port import Engine


class PostgresSide:
    """PostgreSQL's."""

    engine: Engine = PostgresEngine()
    pool: Any = PostgresDatabase
    """Whose `connect` opens a service's database."""

    def databases(self, urls: Mapping[str, str], loop: VirtualLoop) -> Any:  # noqa: ANN401 - see Databases
        """The test's own connections."""
        del loop
        return Databases(dict(urls))

    def auditor(self, urls: Mapping[str, str], databases: Any, blueprint: Blueprint) -> Auditor:  # noqa: ANN401 - as above
        """Who looks into the books."""
        del databases
        return Auditor(dict(urls), blueprint)

    async def void_leases(self, database: Any) -> None:  # noqa: ANN401 - a pool
        """As a process that has its data alone does at its start (E2)."""
        await release_all(database)

    def follow(self, patch: pytest.MonkeyPatch, loop: VirtualLoop) -> None:
        """Readers have connections of their own: their statements are on the way, too."""
        count(patch, loop, asyncpg, "connect")
        for name in ("execute", "fetch", "fetchrow", "fetchval", "close"):
            count(patch, loop, asyncpg.Connection, name)


def count(patch: pytest.MonkeyPatch, loop: VirtualLoop, owner: Any, name: str) -> None:  # noqa: ANN401 - whatever has it
    """Let the loop know while this coroutine function of `owner` runs."""
    inner: Callable[..., Any] = getattr(owner, name)

    async def outer(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        with loop.statement():
            return await inner(*arguments, **options)

    patch.setattr(owner, name, outer)
