"""Every act on an order while another one stands anywhere: which wins, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.races.explorer import Race, come_to_rest, follow_flushes
from tests.races.scene import STOCK, Scene
from tests.state_machine.simulation import Simulation
from tests.state_machine.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ServiceDatabases

SERVICES = ("order", "payment", "inventory", "notification", "provider")
KINDS = ("cancel", "confirm", "refuse", "out of stock", "deadline", "redrive", "duplicate", "post")
NOT_RACED = {
    "out of stock": {"confirm", "refuse", "post"},  # what is not in stock is never charged
    "post": {"out of stock", "refuse", "deadline", "redrive", "duplicate"},
}
"""The answer to a key does not depend on the order's state: two changes of it are enough."""
ALWAYS = {"cancel"}
"""It races with every act; `make test-faults` has each of the others stand, too."""
POINTS_MIN = 5
"""An act that passes fewer has lost its points: then nothing was explored."""
ENDINGS = """
SELECT type FROM messaging.outbox
WHERE aggregateid = $1 AND type IN ('OrderConfirmed', 'OrderCancelled')
"""
STATUS = "SELECT status FROM app.orders WHERE id = $1::uuid"
NO_JOB = "UPDATE messaging.schedule SET due_at = 'infinity' WHERE name = 'order deadlines'"


@pytest.fixture
def world(
    service_databases: ServiceDatabases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """The platform on databases of its own, with a second process of the order service."""
    loop = VirtualLoop()
    urls = {service: service_databases[service] for service in SERVICES}
    simulation = Simulation(loop, urls, monkeypatch)
    follow_flushes(monkeypatch)
    simulation.run(simulation.open())
    simulation.run(simulation.begin(STOCK, at_once=True))
    simulation.run(simulation.twin("order"))
    simulation.run(simulation.databases.fetch("order", NO_JOB))
    yield simulation
    simulation.run(simulation.end())
    simulation.run(simulation.close())
    loop.close()


async def check(world: Simulation, scene: Scene, kinds: tuple[str, str]) -> None:
    """Exactly one order with one ending, and everybody was told the truth about it."""
    check_sent(scene)
    await come_to_rest(world, scene.order_id)
    ((status,),) = await world.databases.fetch("order", STATUS, scene.order_id)
    endings = [row[0] for row in await world.databases.fetch("order", ENDINGS, scene.order_id)]
    assert endings == [f"Order{status.title()}"]
    check_cancels(scene, status)
    if "out of stock" in kinds or ("refuse" in kinds and "confirm" not in kinds):
        assert status == "CANCELLED"
    elif scene.placed is not None and not {"cancel", "refuse"} & {*kinds}:
        assert status == "CONFIRMED"


def check_sent(scene: Scene) -> None:
    """P5: one key is one order; who sends it again is told the same, byte for byte."""
    answers = [sent.request.result() for sent in scene.sent if sent.request is not None]
    if scene.placed is None:
        scene.order_id = answers[0].json()["id"]
        assert sum(answer.status_code == 201 for answer in answers) == 1
    first = scene.placed or answers[0]
    assert all(answer.content == first.content for answer in answers)
    assert all(answer.status_code in {200, 201} for answer in answers)
    assert scene.placed is None or all(answer.status_code == 200 for answer in answers)


def check_cancels(scene: Scene, status: str) -> None:
    """P8: who was told that the order is cancelled was told the truth, and so was who was not."""
    for cancel in scene.cancels:
        if cancel.request is None:
            continue
        answer = cancel.request.result()
        if answer.status_code == 409:
            assert answer.json()["code"] == "order_not_cancellable"
            assert status == "CONFIRMED"
        else:
            assert answer.status_code == 200
            assert status == "CANCELLED"


@pytest.mark.parametrize(
    "first",
    [kind if kind in ALWAYS else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS],
)
def test_of_two_acts_exactly_one_wins_wherever_the_first_one_stands(
    world: Simulation, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """P5, P8: run B while A stands at P, for every B and P; money and stock follow the winner."""
    race = Race(world, monkeypatch)

    async def explored(kinds: tuple[str, str], stand_at: int) -> bool:
        scene = Scene(world, kinds, key=f"{kinds[0]}-{kinds[1]}-{stand_at}".replace(" ", "-"))
        await scene.prepare()
        lives = await scene.lives()
        stood = await race.run(scene.racer(kinds[0]), scene.racer(kinds[1]), stand_at, lives)
        await check(world, scene, kinds)
        return stood

    for second in KINDS:
        if second in NOT_RACED.get(first, ()) or first in NOT_RACED.get(second, ()):
            continue
        points = 0
        while world.run(explored((first, second), points)):
            points += 1
        assert points >= POINTS_MIN
        world.run(world.auditor.assert_at_rest())
    assert race.waited
