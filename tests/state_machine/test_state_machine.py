"""Whatever customers, networks, machines and operators do in whatever order, the books add up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from tests.state_machine.gates import Fate, Grant
from tests.state_machine.machine import OrdersMachine
from tests.state_machine.scripts import ONE, SCRIPTS
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop
from tests.state_machine.walking import LONGER, SHORT, SHORTER, walk, walk_by

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT, EVERY
from waybill.blueprints.notify import NOTIFY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import ServiceDatabases
    from tests.state_machine.scripts import Script

    from waybill.blueprints.definition import Blueprint

    World = Callable[[Blueprint], Simulation]


@pytest.fixture
def new_world(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The platform of a blueprint, on databases of its own."""
    made: list[Simulation] = []

    def make(blueprint: Blueprint) -> Simulation:
        made.append(Simulation(VirtualLoop(), service_databases, monkeypatch, blueprint))
        made[-1].run(made[-1].open())
        return made[-1]

    yield make
    for simulation in made:
        simulation.run(simulation.close())
        simulation.loop.close()


def test_a_pause_that_is_all_but_over_ends() -> None:
    """Virtual time does not stand still before a deadline that the loop takes for reached."""
    loop = VirtualLoop()

    async def waits() -> bool:
        deadline = loop.time() + 1e-11
        for _ in range(3):
            await asyncio.sleep(deadline - loop.time())
        return loop.time() >= deadline

    assert loop.run_until_complete(waits())
    loop.close()


@pytest.fixture
def world(new_world: World) -> Simulation:
    """The default's."""
    return new_world(DEFAULT)


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=list(BLUEPRINTS))
def test_the_books_add_up_after_every_step(
    new_world: World, blueprint: Blueprint, request: pytest.FixtureRequest
) -> None:
    """P1-P9 under any sequence of rules: kind A after each one, kind Q after healing and rest."""
    OrdersMachine.world = new_world(blueprint)
    walk(request, SHORT if blueprint is DEFAULT else SHORTER)


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=list(BLUEPRINTS))
def test_an_order_is_confirmed_and_another_cancelled(
    new_world: World, blueprint: Blueprint
) -> None:
    """What the machine drives is the blueprint: its own orders come to both of their ends."""
    come_to_both_ends(new_world(blueprint))


@pytest.mark.long
@pytest.mark.parametrize("blueprint", EVERY.values(), ids=list(EVERY))
def test_the_books_add_up_in_many_runs(
    new_world: World, blueprint: Blueprint, request: pytest.FixtureRequest
) -> None:
    """P1-P9 of each blueprint in runs that nobody has seen before."""
    world = OrdersMachine.world = new_world(blueprint)
    if blueprint.name not in BLUEPRINTS:  # a variant: each run of `make test` has the others
        come_to_both_ends(world)
    walk(request, LONGER)


def come_to_both_ends(world: Simulation) -> None:
    """One order of the blueprint is confirmed, another cancelled or as good."""
    OrdersMachine.world = world
    machine = OrdersMachine()
    machine.begin(wanted=ONE)
    machine.flow(order=0, fates=[Fate.ANSWERED] * 12)
    machine.place(order=(ONE[0][0], False))
    machine.cancel(which=1)
    for service in world.plans:
        machine.deliver(batches=[(service, Grant(repeats=5), None)] * 2)
    machine.teardown()
    statuses = world.run(world.databases.fetch("order", "SELECT status FROM app.orders"))
    process = world.blueprint.process
    ends = {row["status"] for row in statuses}
    assert process.confirmed.status in ends
    assert ends & process.failures or not process.cancellable


def test_orders_are_taken_while_those_who_are_notified_do_not_answer(new_world: World) -> None:
    """R032, R286: POST is answered before its call ends, and while another order's call hangs."""
    world = new_world(NOTIFY)
    products = world.customers.stock({})
    body = world.customers.body([])

    async def answered_at_once() -> None:
        life = world.lives["order"]
        assert life.client is not None
        posting = life.client.post(world.customers.place_path, json=body)
        posted = life.process.spawn(posting)
        await world.settle()
        assert posted.done(), "it waits for somebody outside"
        assert posted.result().status_code == 200

    async def orders() -> None:
        await world.begin(products)
        await answered_at_once()
        await world.deliver("order", Grant())
        (call,) = world.lives["order"].calls.waiting
        await answered_at_once()
        assert world.lives["order"].calls.waiting == [call]

    try:
        world.run(orders())
    finally:
        world.run(world.end())


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


def test_a_walk_is_another_each_time_and_is_repeated_by_its_seed() -> None:
    """What a run of CI found can be found again: its failure says how."""
    steps: list[int] = []

    class Walker(RuleBasedStateMachine):
        @rule(number=st.integers())
        def step(self, number: int) -> None:
            steps.append(number)
            assert number < 1_000

    def failed(number: int) -> tuple[str, list[int]]:
        steps.clear()
        with pytest.raises(AssertionError) as told:
            walk_by(number, Walker, settings(**SHORT), repeat="pytest x")
        return told.value.__notes__[-1], [*steps]

    note, first = failed(4711)
    assert note == "These steps again: pytest x --hypothesis-seed=4711"
    assert failed(4711) == (note, first)
    assert failed(4712)[1] != first
