"""One real broker for all tests of a process that ask for it, and none of them skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import new_platform
from tests.environment import given_brokers
from tests.kafka.broker import Broker, OtherBroker, running_broker
from tests.kafka.reading import settings_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

__all__ = ["new_platform"]


@pytest.fixture(scope="session")
def kafka(session_directory: Path) -> Iterator[Broker | OtherBroker]:
    """A broker; do not stop it. Topics and groups of a test have names of its own."""
    named = given_brokers()
    if named:
        yield OtherBroker(named)
        return
    with running_broker(session_directory / "kafka") as broker:
        yield broker


@pytest.fixture
def settings(kafka: Broker | OtherBroker) -> KafkaSettings:
    """Of every process of a test."""
    return settings_for(kafka.bootstrap)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of Kafka that was skipped has failed: without it nobody knows that Kafka works."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"tests of Kafka are never skipped: {report.longrepr}"
    return report
