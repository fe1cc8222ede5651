"""The runbook has a section for each alert, and its commands run on a running platform.

Those of alerts of Kafka run on one that is on Kafka: tests/observability/test_live_kafka.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.runbook import commands, complaints, looked_for, sections
from tests.observability.files import alerts

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess


def test_every_alert_has_its_section_and_no_section_lacks_an_alert() -> None:
    """Whoever is woken finds what it means, what to look at and what to do."""
    named = {alert.name: alert.runbook for alert in alerts()}
    assert sections().keys() == named.keys()
    for name, place in named.items():
        assert place == f"docs/runbook.md#{name.lower()}"
    assert [name for name, text in sections().items() if not commands(text)] == []


def test_each_alternative_of_a_grep_is_looked_for() -> None:
    """One name that is found would hide another that nothing exposes any more."""
    line = "curl -s localhost:8081/metrics | grep -E 'up|outbox_(unsent|held)_rows|intake_'"
    assert list(looked_for(line)) == ["up", "outbox_unsent_rows", "outbox_held_rows", "intake_"]
    assert list(looked_for("waybill status")) == []


@pytest.mark.acceptance
def test_the_commands_of_every_alert_run(shared_platform: PlatformProcess) -> None:
    """Each ends with 0, or with the status that stands beside it, and finds all it looks for."""
    shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])
    ours = {alert.name for alert in alerts() if not alert.kafka}
    every = sorted({line for name in ours for line in commands(sections()[name])})
    assert len(every) > 25
    assert complaints(shared_platform, every) == []
