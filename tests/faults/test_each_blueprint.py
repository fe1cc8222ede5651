"""The faults that every blueprint is held to, on both logs: all that they cost is time.

What the default blueprint endures beyond them is in the other files.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.stages import OTHERS, STAGES
from tests.faults import absences, brokers, commits, databases, neighbours
from tests.faults.conftest import new_site
from tests.faults.site import endures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.acceptance.stages import Stage
    from tests.faults.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
LOGS = ("direct", "kafka")
BROKER_SECONDS = 60.0


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, session_directory: Path, provisioned_data: Path
) -> Iterator[Site]:
    """One platform of a blueprint on a log for all its faults; each leaves it well."""
    stage, log, alone = request.param
    with new_site(session_directory, provisioned_data, log=log, stage=stage, alone=alone) as made:
        yield made


def on(
    stages: Iterable[Stage], logs: tuple[str, ...] = LOGS, *, alone: tuple[str, ...] = ()
) -> pytest.MarkDecorator:
    """Each of these blueprints on each of these logs; some of them with nobody outside."""
    sites = [
        pytest.param(
            (stage, log, stage.name in alone),
            id=f"{stage.name}-{log}{'-alone' if stage.name in alone else ''}",
        )
        for stage in stages
        for log in logs
    ]
    return pytest.mark.parametrize("site", sites, indirect=True, scope="module")


WITH_NEIGHBOURS = [
    stage for stage in STAGES.values() if neighbours.NEIGHBOURS[stage.name] is not neighbours.nobody
]


@on(OTHERS, ("kafka",))
def test_the_broker_is_away(site: Site) -> None:
    """Protocol I5, L2: orders are taken all the time; they end once it is back."""
    endures(site, partial(brokers.stopped, site, BROKER_SECONDS))


@on(OTHERS, ("kafka",))
def test_the_broker_is_killed(site: Site) -> None:
    """Protocol L2: what it had acknowledged is there, the rest is sent again in order."""
    endures(site, partial(brokers.killed, site))


@on(OTHERS)
def test_postgresql_is_restarted_in_immediate_mode(site: Site) -> None:
    """P2, P11: what was answered survives, though nothing was shut down in order."""
    endures(site, partial(databases.restarted_at_once, site))


@on(OTHERS)
def test_backends_are_terminated(site: Site) -> None:
    """P3: `pg_terminate_backend` of everybody, again and again."""
    endures(site, partial(databases.terminated, site, rounds=4, every_seconds=1.0))


@on(STAGES.values())
@pytest.mark.parametrize("before", [True, False], ids=["request", "answer"])
def test_connections_are_cut_at_their_commit(site: Site, *, before: bool) -> None:
    """P1, P3, protocol I2: of each service, before the server hears of it, or before its answer."""
    endures(site, partial(commits.cut_off, site, before=before))


@on(WITH_NEIGHBOURS)
def test_everybody_outside_is_away_once(site: Site) -> None:
    """P1, P10: orders are taken, and all that was owed is done once they are back."""
    assert site.neighbours
    for neighbour in site.neighbours.values():
        endures(site, partial(neighbours.away, site, neighbour))


# Whom `notify` has outside stands in its second service's place.
@on(STAGES.values(), alone=("notify",))
def test_a_service_that_is_killed_stops_no_other(site: Site) -> None:
    """R016, R183: each in turn; orders are taken meanwhile, and go on once it is back."""
    meanwhile: dict[str, set[object]] = {}
    endures(site, partial(absences.each_killed, site, meanwhile))
    assert meanwhile.keys() == site.services.keys()
    for name, orders in meanwhile.items():
        assert name == "order" or absences.confirmed(site, orders), f"placed without {name}"
