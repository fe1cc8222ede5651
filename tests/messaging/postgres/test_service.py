"""A service's set-up is judged before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.ledger import CODEC, TOPIC, Added

from waybill.messaging.adapters.postgres.source import SourceSpec
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.service import MessagingService

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
