"""One real broker for all tests of a run that ask for it, and none of them skipped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import new_platform
from tests.environment import given_brokers
from tests.kafka.broker import OtherBroker, running_broker
from tests.kafka.reading import name_of, settings_for
from tests.sharing import meeting_place, shared

from waybill.messaging.adapters.kafka.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from waybill.messaging.adapters.kafka.settings import KafkaSettings

__all__ = ["new_platform"]


@pytest.fixture(scope="session")
def kafka(
    session_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OtherBroker]:
    """A broker; do not stop it. Topics and groups of a test have names of its own."""
    named = given_brokers()
    if named:
        yield OtherBroker(named)
        return
    place = meeting_place(tmp_path_factory) / "kafka"
    with shared(place, lambda: _broker(session_directory / "kafka")) as bootstrap:
        yield OtherBroker(bootstrap)


@contextmanager
def _broker(directory: Path) -> Iterator[str]:
    with running_broker(directory) as broker:
        yield broker.bootstrap


@pytest.fixture
def settings(kafka: OtherBroker) -> KafkaSettings:
    """Of every process of a test."""
    return settings_for(kafka.bootstrap)


@pytest.fixture
async def topic(settings: KafkaSettings) -> str:
    """Six partitions, nothing in them."""
    name = name_of("parcels")
    await Topics(settings).prepare([name])
    return name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of Kafka that was skipped has failed: without it nobody knows that Kafka works."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"tests of Kafka are never skipped: {report.longrepr}"
    return report
