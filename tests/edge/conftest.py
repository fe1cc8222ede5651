"""An accounts service over a database of its own, and a client that talks to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from tests.commerce.support import StillClock
from tests.edge.issuer import ISSUER
from tests.http.edge_memory import Responses

from waybill.commerce.migrations.migrate import upgrade
from waybill.edge.accounts import service
from waybill.edge.accounts.accounts import AccountSettings
from waybill.edge.accounts.passwords import PasswordSettings
from waybill.edge.tokens.settings import TokenSettings
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.dead_letters import PostgresDeadLetters
from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.runtime.ports import ServicePorts
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import TestDatabases

    from waybill.edge.accounts.service import BuiltAccounts

CHEAP = PasswordSettings(memory_kibibytes=64, passes=1)
"""Not what is promised, which a test of its own reads out of a hash."""


class MovingClock(StillClock):
    """Both clocks stand still until a test moves them."""

    def monotonic(self) -> float:
        return self.instant.timestamp()


@dataclass
class World:
    """One accounts service; `again` makes another process of it over the same database."""

    database: PostgresDatabase
    clock: MovingClock = field(default_factory=MovingClock)
    running: list[BuiltAccounts] = field(default_factory=list)

    def again(self, passwords: PasswordSettings = CHEAP) -> BuiltAccounts:
        outbox = PostgresOutbox()
        ports = ServicePorts(
            database=self.database,
            outbox=outbox,
            inbox=PostgresInbox(),
            dead_letters=PostgresDeadLetters(self.database, outbox),
            codec=service.codec(),
            producer=service.NAME,
            clock=self.clock,
        )
        settings = AccountSettings(tokens=TokenSettings(issuer=ISSUER))
        self.running.append(service.build(ports, settings, passwords=passwords))
        return self.running[-1]

    def client(self, built: BuiltAccounts | None = None) -> httpx2.AsyncClient:
        built = built or (self.running[-1] if self.running else self.again())
        parts = HttpParts(
            title=service.NAME,
            version="0.1.0",
            health=Health({}),
            registry=CollectorRegistry(),
            observer=Responses(),
            now=self.clock.now,
        )
        transport = httpx2.ASGITransport(app=create_application(built.surface, parts))
        return httpx2.AsyncClient(transport=transport, base_url="http://accounts/api/v1/auth")


@pytest.fixture(scope="session")
def accounts_template(databases: TestDatabases, messaging_template: str) -> str:
    """The name of a migrated accounts database."""
    name = databases.copy(messaging_template)
    databases.run(upgrade(databases.server.url(name), service.DATABASE))
    return name


@pytest.fixture
def accounts_database(databases: TestDatabases, accounts_template: str) -> Iterator[str]:
    """The name of a fresh one."""
    name = databases.copy(accounts_template)
    yield name
    databases.drop(name)


@pytest.fixture
async def world(databases: TestDatabases, accounts_database: str) -> AsyncIterator[World]:
    """One accounts service that nobody has used yet."""
    database = await PostgresDatabase.connect(
        databases.server.url(accounts_database), PostgresSettings(pool_max=8)
    )
    made = World(database)
    yield made
    for built in made.running:
        built.close()
    await database.close()
