"""Kafka goes away, dies, loses or refuses what it is sent: the intake stays open, nothing is lost.

Each fault is felt, and ends with the audit. The whole durations are `make test-faults`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import OFFSETS
from tests.faults import brokers, owners, storms, topics
from tests.faults.produce_proxy import Where
from tests.faults.site import endures

if TYPE_CHECKING:
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance
ON_REQUEST = pytest.mark.long


@pytest.mark.parametrize(
    "seconds",
    [4.0, *(pytest.param(seconds, marks=ON_REQUEST) for seconds in (60.0, 180.0))],
)
def test_the_broker_is_away(kafka_site: Site, seconds: float) -> None:
    """Protocol I5, L2: orders are taken all the time; they end once it is back."""
    endures(kafka_site, partial(brokers.stopped, kafka_site, seconds))


@pytest.mark.both
def test_the_broker_is_killed(kafka_site: Site) -> None:
    """Protocol L2: what it had acknowledged is there, the rest is sent again in order."""
    endures(kafka_site, partial(brokers.killed, kafka_site))


@pytest.mark.parametrize("where", list(Where))
@pytest.mark.parametrize("cuts", [4, pytest.param(300, marks=ON_REQUEST)])
def test_producers_are_cut_off(kafka_site: Site, where: Where, cuts: int) -> None:
    """Protocol L2: before the broker hears of records, or before its acknowledgement passes."""
    endures(kafka_site, partial(brokers.cut, kafka_site, where, cuts))


@pytest.mark.both
def test_a_record_is_too_large(kafka_site: Site) -> None:
    """Protocol L4: it is held for an operator, and every other key goes on."""
    endures(kafka_site, partial(topics.too_large, kafka_site))


@pytest.mark.both
def test_the_dead_letter_topic_refuses_writes(kafka_site: Site) -> None:
    """Protocol C5, O4: the letter is safe in its table, and its lane stops no other."""
    endures(kafka_site, partial(topics.dead_letters_refused, kafka_site))


@pytest.mark.parametrize(
    "service", ["inventory", *(pytest.param(name, marks=ON_REQUEST) for name in OFFSETS)]
)
def test_an_owner_is_paused_past_its_session_and_woken(kafka_site: Site, service: str) -> None:
    """Protocol L3, C15: partitions and lanes move on; who wakes up can change nothing."""
    endures(kafka_site, partial(owners.paused, kafka_site, service))


@ON_REQUEST
def test_instances_join_and_die_all_the_time(kafka_site: Site) -> None:
    """P3: partitions and lanes change hands every 2 s, and nothing is lost or done twice."""
    storm = partial(
        storms.storm,
        *(kafka_site, "inventory"),
        changes=30,
        every_seconds=2.0,
        extras_max=3,
    )
    endures(kafka_site, storm)


@pytest.mark.parametrize(
    "service", ["inventory", *(pytest.param(name, marks=ON_REQUEST) for name in OFFSETS)]
)
def test_the_offsets_of_a_group_are_deleted(kafka_site: Site, service: str) -> None:
    """Protocol C15: the positions in the consumer's own database stand."""
    endures(kafka_site, partial(topics.offsets_deleted, kafka_site, service, positions=False))


@pytest.mark.both
def test_a_group_is_delivered_everything_again(kafka_site: Site) -> None:
    """P3: offsets and positions are gone, so all comes once more; the inbox knows it."""
    fault = partial(topics.offsets_deleted, kafka_site, "payment", positions=True)
    endures(kafka_site, fault)


@pytest.mark.both
def test_a_topic_is_missing(kafka_site: Site) -> None:
    """Protocol L4: an outage like any other; nothing is held, and all is sent when it is there."""
    # The last one: the topic begins anew, so what was read from it before cannot come again.
    endures(kafka_site, partial(topics.missing, kafka_site))
