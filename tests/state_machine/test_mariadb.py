"""`reservation` and `notify` on MariaDB under the same rules: every fault, any order of steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.commerce.mariadb_services import MariadbServices
from tests.mariadb import SERVERS, server_url
from tests.state_machine.machine import OrdersMachine
from tests.state_machine.mariadb import MariadbSide
from tests.state_machine.simulation import Simulation
from tests.state_machine.test_state_machine import come_to_both_ends
from tests.state_machine.virtual_time import VirtualLoop
from tests.state_machine.walking import LONGER, SHORTER, walk

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServiceDatabases

ON_MARIADB = ("notify", "reservation")


@pytest.fixture(scope="module", params=SERVERS)
def services(request: pytest.FixtureRequest) -> MariadbServices:
    """Databases with the services' tables, made once."""
    return MariadbServices(server_url(request, request.param))


@pytest.fixture(params=ON_MARIADB)
def world(
    request: pytest.FixtureRequest,
    services: MariadbServices,
    service_databases: ServiceDatabases,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Simulation]:
    """The platform of a blueprint; the books are looked into on copies."""
    blueprint = BLUEPRINTS[request.param]
    urls = {name: asyncio.run(services.ready(name)) for name in plans_of(blueprint)}
    copies = {name: service_databases[name] for name in urls}
    side = MariadbSide(copies)
    simulation = Simulation(VirtualLoop(), urls, monkeypatch, blueprint, side)
    simulation.run(simulation.open())
    yield simulation
    simulation.run(simulation.close())
    simulation.loop.close()


def test_an_order_is_confirmed_and_another_cancelled(world: Simulation) -> None:
    """Its own orders come to both of their ends, and the audit finds nothing."""
    come_to_both_ends(world)


def test_the_books_add_up_at_rest(world: Simulation, request: pytest.FixtureRequest) -> None:
    """P1-P9 after any sequence of rules: connections break, processes die at any statement."""
    OrdersMachine.world = world
    walk(request, SHORTER)


@pytest.mark.long
def test_the_books_add_up_at_rest_after_many_runs(
    world: Simulation, request: pytest.FixtureRequest
) -> None:
    """The same, as often as the default blueprint's."""
    OrdersMachine.world = world
    walk(request, LONGER)
