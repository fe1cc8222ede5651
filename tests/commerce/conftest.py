"""One migrated database a service and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.commerce.certificate import Certificate, self_signed
from tests.commerce.mariadb_services import MariadbServices
from tests.commerce.support import Service
from tests.mariadb import ENGINES, server_url

from waybill.blueprints import orchestration_wire
from waybill.commerce.migrations.migrate import REVISIONS, upgrade
from waybill.messaging.adapters.postgres.connection import PostgresSettings
from waybill.messaging.engines import engine_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.conftest import TestDatabases


ON_BOTH_ENGINES = frozenset(
    {
        "test_http_notify",
        "test_inventory_handlers",
        "test_notifications_handlers",
        "test_notify_orders",
        "test_orders_handlers",
        "test_orders_intake",
        "test_orders_over_http",
        "test_orders_owned",
        "test_outbox_states",
    }
)
"""Test files whose tests run on PostgreSQL and on MariaDB."""


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a store promises is tried on both engines."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames and name in ON_BOTH_ENGINES:
        metafunc.parametrize("engine", ENGINES)


@pytest.fixture
def engine() -> str:
    """Where a test's services have their databases."""
    return "postgresql"


@pytest.fixture(scope="session")
def services_on() -> dict[str, MariadbServices]:
    """Databases by server, made when they are first asked for."""
    return {}


@pytest.fixture
def open_service(
    engine: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Awaitable[Service]]]:
    """Opens fresh databases of services; they are closed by the test's own loop."""
    names: list[str] = []
    settings = PostgresSettings(pool_max=12)

    async def open_on_server(service: str) -> Service:
        made: dict[str, MariadbServices] = request.getfixturevalue("services_on")
        if engine not in made:
            made[engine] = MariadbServices(server_url(request, engine))
        services = made[engine]
        url = await services.ready(service)
        await services.empty(service)
        return Service(await engine_of(url).connect(url, settings), f"{service}-service", url)

    async def open_(service: str) -> Service:
        if engine != "postgresql":
            return await open_on_server(service)
        templates: dict[str, str] = request.getfixturevalue("commerce_templates")
        databases: TestDatabases = request.getfixturevalue("databases")
        name = databases.copy(templates[service])
        names.append(name)
        url = databases.server.url(name)
        opened = await engine_of(url).connect(url, settings)
        if service == "orchestrator":
            return Service(opened, service, url, orchestration_wire.codec())
        return Service(opened, f"{service}-service", url)

    yield open_
    if names:
        databases: TestDatabases = request.getfixturevalue("databases")
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
