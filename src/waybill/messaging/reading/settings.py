"""Limits of a reader of outboxes, and where they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.retry import Backoff

LEASE_SECONDS_MAX = 10.0
POLL_SECONDS_MAX = 1.0


@dataclass(frozen=True)
class SourceSpec:
    """Where a producer's outbox is read: a URL as the reader role, and the topics in it."""

    url: str
    topics: frozenset[str]


@dataclass(frozen=True)
class LogSettings:
    """Limits of a reader. `start` is where a new consumer begins (protocol D4)."""

    lease_seconds: float = 5.0
    poll_seconds: float = 1.0
    report_seconds: float = 1.0
    heartbeat_seconds: float = 60.0
    """An idle reader reports this often, so that it does not count as silent."""
    grace_seconds: float = 0.02
    """A source that does not answer within this is not waited for while others have rows."""
    connect_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 5.0
    close_timeout_seconds: float = 2.0
    start: Literal["horizon", "end"] = "horizon"
    retry: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        """Refuse limits that would break protocol D1 or D7."""
        if not 0 < self.lease_seconds <= LEASE_SECONDS_MAX:
            message = f"lease_seconds must be above 0 and at most {LEASE_SECONDS_MAX} (D1)"
            raise ConfigurationError(message)
        if not 0 < self.poll_seconds <= POLL_SECONDS_MAX:
            message = f"poll_seconds must be above 0 and at most {POLL_SECONDS_MAX} (D7)"
            raise ConfigurationError(message)
