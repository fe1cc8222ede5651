"""Walks that differ from run to run, so that many runs see more than one: a failure is a bug.

It names the seed that repeats it: `pytest 'tests/…::test_…[…]' --hypothesis-seed=4711`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.state_machine.conftest import LONG
from tests.state_machine.machine import OrdersMachine

if TYPE_CHECKING:
    import pytest
    from hypothesis.stateful import RuleBasedStateMachine

SHORT: dict[str, Any] = {"max_examples": 6, "stateful_step_count": 40, "database": None}
"""About a quarter of a minute on two cores."""
SHORTER = {**SHORT, "max_examples": 2}
"""For the other blueprints: the services are the same."""
LONGER = {**SHORT, "max_examples": 24}
SEED = "--hypothesis-seed"


def walk(request: pytest.FixtureRequest, length: dict[str, Any]) -> None:
    """Have the orders' machine go so far; with `--hypothesis-profile=long` for hours."""
    given = request.config.getoption(SEED)
    number = int(given) if given else secrets.randbits(32)
    long = settings.get_current_profile_name() == LONG
    profile = settings() if long else settings(**length)
    walk_by(number, OrdersMachine, profile, repeat=f"pytest '{request.node.nodeid}'")


def walk_by(
    number: int, machine: type[RuleBasedStateMachine], profile: settings, *, repeat: str
) -> None:
    """The walk of this number. What fails says how to repeat it."""
    every = settings(
        profile, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=every)
    except BaseException as error:
        error.add_note(f"These steps again: {repeat} {SEED}={number}")
        raise
