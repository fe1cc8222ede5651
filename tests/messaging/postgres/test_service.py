"""A service's set-up is judged before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CODEC, TOPIC, Added

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outbox_row import VALUE_BYTES_MAX
from waybill.messaging.reading.settings import SourceSpec
from waybill.messaging.service import DAY_SECONDS, MessagingService, MessagingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.unit import Received, UnitOfWork


async def ignore(_unit: UnitOfWork, _received: Sequence[Received]) -> None:
    """A handler."""


async def test_d8_a_source_that_is_not_configured_is_told_at_start(
    messaging_database: str,
) -> None:
    """Protocol D8: at start and by name, not by a consumer that halts later in the background."""
    sources = {"bank": SourceSpec("", frozenset({TOPIC}))}
    service = MessagingService("ledger", url=messaging_database, codec=CODEC, sources=sources)
    await service.connect()
    try:
        with pytest.raises(ConfigurationError, match=rf"{TOPIC}.*KAFKA_BROKERS"):
            service.consume("ledger", [Added], ignore)
    finally:
        await service.stop()


def on_kafka(**limits: float) -> MessagingService:
    """A service that is not connected, with topics that keep records for ten days."""
    kafka = KafkaSettings(brokers="nowhere:9092", retention_seconds=10 * DAY_SECONDS)
    settings = MessagingSettings(**limits)  # type: ignore[arg-type]  # of numbers only
    return MessagingService("ledger", url="", codec=CODEC, kafka=kafka, settings=settings)


def test_p2_on_kafka_outbox_rows_outlive_their_records() -> None:
    """P2: what is younger than a topic's retention can be sent again."""
    assert on_kafka().settings.upkeep.outbox_retention_seconds == 10 * DAY_SECONDS
    direct = MessagingService("ledger", url="", codec=CODEC)
    assert direct.settings.upkeep.outbox_retention_seconds == 7 * DAY_SECONDS


@pytest.mark.parametrize("size", [0, VALUE_BYTES_MAX + 1])
def test_a_message_that_no_reader_takes_is_refused_at_the_start(size: int) -> None:
    """L4: what may be published can be read; up to that limit it may be set."""
    MessagingSettings(message_bytes_max=VALUE_BYTES_MAX)
    with pytest.raises(ConfigurationError, match=f"message_bytes_max is {size}: readers take"):
        MessagingSettings(message_bytes_max=size)


def test_p3_an_inbox_that_forgets_before_a_topic_does_is_refused() -> None:
    """P3: else a record that is still in its topic could be applied twice."""
    with pytest.raises(ConfigurationError, match="KAFKA_RETENTION_SECONDS"):
        on_kafka(inbox_retention_seconds=10 * DAY_SECONDS)
