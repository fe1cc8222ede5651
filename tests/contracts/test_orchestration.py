"""Consumer-driven contracts of `orchestration`: the consumers' side (R254).

The providers' side is asked of the platform in tests/acceptance/test_orchestration.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.contracts.orchestration_needs import CONTRACTS, event_pact, heard, pairs, write
from tests.contracts.test_consumers import parsed
from tests.contracts.understanding import understood

from waybill.blueprints.orchestration import ORCHESTRATION, SERVICES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("consumer", "provider"), list(pairs()))
def test_a_consumer_understands_what_it_asks_for(consumer: str, provider: str) -> None:
    """The least that a contract allows decodes to an event that the service acts on."""
    read = understood(event_pact(consumer, provider), ORCHESTRATION.codec())
    assert [message.type for message, _ in read] == list(heard(consumer, provider))
    for message, event in read:
        assert type(event) in SERVICES[consumer].acts_on[message.topic]


def test_every_event_is_somebodys_need() -> None:
    """Of the blueprint's events none is published for nobody, and none is forgotten here."""
    needed = {name for pair in pairs() for name in heard(*pair)}
    assert needed == set(ORCHESTRATION.wire_names(ORCHESTRATION.events))


def test_the_contracts_of_the_repository_are_these(tmp_path: Path) -> None:
    """`python -m tests.contracts.orchestration_needs` writes them."""
    write(tmp_path)
    assert {path.name: parsed(path) for path in tmp_path.iterdir()} == {
        path.name: parsed(path) for path in CONTRACTS.glob("*.json")
    }
