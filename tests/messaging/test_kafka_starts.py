"""Where reading of a partition begins: every way in which database, group and log can differ."""

from __future__ import annotations

import logging

import pytest

from waybill.messaging.adapters.kafka.poller import Found
from waybill.messaging.adapters.kafka.starts import last_read
from waybill.messaging.core.ports import PartitionPosition

PLACE = ("order-events", 2)


@pytest.mark.parametrize(
    ("stored", "committed", "low", "high", "last", "alarm"),
    [
        pytest.param(None, None, 0, 0, -1, "", id="all new"),
        pytest.param(None, None, 40, 90, 39, "", id="a new consumer begins at the log's start"),
        pytest.param(None, 80, 40, 90, 39, "", id="a lost database begins there as well"),
        pytest.param(70, 71, 40, 90, 70, "", id="both agree"),
        pytest.param(70, 60, 40, 90, 59, "", id="a crash before the group was told, or a reset"),
        pytest.param(50, 71, 40, 90, 50, "", id="a restored database"),
        pytest.param(70, None, 40, 90, 70, "", id="the group's offsets were deleted"),
        pytest.param(20, 21, 40, 90, 39, "offsets 21 to 39", id="retention was faster"),
        pytest.param(120, 121, 40, 90, 89, "lost records", id="the brokers lost the log's end"),
        pytest.param(89, 90, 40, 90, 89, "", id="all is read"),
    ],
)
def test_c15_the_lower_of_both_and_never_silently_past_a_gap(
    stored: int | None,
    committed: int | None,
    low: int,
    high: int,
    *,
    last: int,
    alarm: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protocol C15: nothing is jumped over without an alarm; what comes twice the inbox removes."""
    position = None if stored is None else PartitionPosition("log-1", stored)
    with caplog.at_level(logging.CRITICAL):
        assert last_read("c", PLACE, "log-1", position, Found(committed, low, high)) == last
    assert alarm in caplog.text
    assert bool(alarm) == bool(caplog.records)


def test_another_log_is_read_from_its_start(caplog: pytest.LogCaptureFixture) -> None:
    """Another cluster, or a topic that was deleted and made anew: old offsets mean nothing."""
    position = PartitionPosition("log-1", 70)
    assert last_read("c", PLACE, "log-2", position, Found(71, 10, 90)) == 9
    assert "another log" in caplog.text
