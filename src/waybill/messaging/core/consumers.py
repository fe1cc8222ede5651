"""What an operator sees of consumers that read outboxes, on every engine (protocol D4)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.messaging.core.ports import Row

SILENT_SECONDS = 24 * 3600
"""A reader silent for longer is alarmed: it holds back retention until it is forgotten."""

ACTIVE_SECONDS = 150
"""One seen within this is running: its heartbeat is every minute."""


class ConsumerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer in one source. `lag` counts unread messages of its topics, as last reported.

    `is_running` tells whether a member holds the lease now; None if its own database was not
    asked or does not know it.
    """

    consumer: str
    source: str
    topics: tuple[str, ...]
    lag: int | None
    seen_at: datetime | None
    is_silent: bool
    is_registered: bool
    is_running: bool | None
    started_at: int | None


def still_runs(consumer: str, source: str) -> ConfigurationError:
    """Why one that was seen a moment ago is not forgotten."""
    return ConfigurationError(
        f"{consumer} was seen in {source} within the last {ACTIVE_SECONDS} s: "
        "stop it first, then forget it"
    )


def consumer_info(
    consumer: str,
    source: str,
    reader: Row | Mapping[str | int, Any] | None,
    own: Row | Mapping[str | int, Any] | None,
) -> ConsumerInfo:
    """From what a source and the consumer's own database know of it."""
    return ConsumerInfo(
        consumer=consumer,
        source=source,
        topics=tuple(sorted(reader["topics"])) if reader else (),
        lag=reader["lag"] if reader else None,
        seen_at=reader["seen_at"] if reader else None,
        is_silent=bool(reader and reader["silent_seconds"] > SILENT_SECONDS),
        is_registered=reader is not None,
        is_running=own["holder"] is not None if own else None,
        started_at=own["started_at"] if own else None,
    )
