"""One migrated database a service and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.commerce.certificate import Certificate, self_signed
from tests.commerce.support import Service

from waybill.blueprints import orchestration_wire
from waybill.commerce.migrations.migrate import REVISIONS, upgrade
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.conftest import TestDatabases


@pytest.fixture(scope="session")
def commerce_templates(databases: TestDatabases, messaging_template: str) -> dict[str, str]:
    """The names of a migrated database of every service."""
    templates = {}
    for service in REVISIONS:
        name = databases.copy(messaging_template)
        databases.run(upgrade(databases.server.url(name), service))
        templates[service] = name
    return templates


@pytest.fixture(scope="session")
def certificate(session_directory: Path) -> Certificate:
    """For servers on 127.0.0.1."""
    return self_signed(session_directory)


@pytest.fixture
def open_service(
    databases: TestDatabases,
    commerce_templates: dict[str, str],
) -> Iterator[Callable[[str], Awaitable[Service]]]:
    """Opens fresh databases of services; they are closed by the test's own loop."""
    names: list[str] = []

    async def open_(service: str) -> Service:
        name = databases.copy(commerce_templates[service])
        names.append(name)
        database = await PostgresDatabase.connect(
            databases.server.url(name), PostgresSettings(pool_max=12)
        )
        if service == "orchestrator":
            return Service(database, service, orchestration_wire.codec())
        return Service(database, f"{service}-service")

    yield open_
    for name in names:
        databases.drop(name)


def _service(name: str) -> Any:  # noqa: ANN401 - a fixture
    @pytest.fixture
    async def fixture(
        open_service: Callable[[str], Awaitable[Service]],
    ) -> AsyncIterator[Service]:
        service = await open_service(name)
        yield service
        await service.database.close()

    return fixture


order = _service("order")
inventory = _service("inventory")
payment = _service("payment")
notification = _service("notification")
provider = _service("provider")
orchestrator = _service("orchestrator")
