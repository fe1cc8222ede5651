"""Whatever customers, networks, machines and operators do in whatever order, the books add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.state_machine.conftest import LONG
from tests.state_machine.machine import OrdersMachine
from tests.state_machine.scripts import ONE, SCRIPTS
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServiceDatabases
    from tests.state_machine.scripts import Script

SHORT: dict[str, Any] = {
    "max_examples": 40,
    "stateful_step_count": 40,
    "derandomize": True,
    "database": None,
}
"""About a minute on two cores."""

SERVICES = ("order", "payment", "inventory", "notification", "provider")


@pytest.fixture
def world(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """The platform on databases of its own."""
    loop = VirtualLoop()
    urls = {service: service_databases[service] for service in SERVICES}
    simulation = Simulation(loop, urls, monkeypatch)
    simulation.run(simulation.open())
    yield simulation
    simulation.run(simulation.close())
    loop.close()


def test_the_books_add_up_after_every_step(world: Simulation) -> None:
    """P1-P9 under any sequence of rules: kind A after each one, kind Q after healing and rest."""
    OrdersMachine.world = world
    run_state_machine_as_test(OrdersMachine, settings=chosen())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_books_add_up_in_runs_that_chance_rarely_finds(
    world: Simulation, script: Script
) -> None:
    """P3, P4, P6, P8: lost answers, facts out of order and late ones, each as it is written."""
    OrdersMachine.world = world
    machine = OrdersMachine()
    machine.begin(wanted=ONE)
    try:
        script(machine)
        machine.books_add_up()
    except BaseException:
        world.run(world.end())
        raise
    machine.teardown()


def chosen() -> settings:
    """The same short run each time; a long one, never the same, by `--hypothesis-profile=long`."""
    long = settings.get_current_profile_name() == LONG
    profile = settings() if long else settings(**SHORT)
    return settings(
        profile, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
