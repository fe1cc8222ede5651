"""Limits of a relay, each with its unit, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.retry import Backoff

LEASE_SECONDS_MAX = 10.0
POLL_SECONDS_MAX = 1.0
POSITION_WRITES_PER_SECOND_MAX = 20.0
BACKOFF_SECONDS_MAX = 10.0
MODES = ("relay", "cdc")


@dataclass(frozen=True)
class RelaySettings:
    """See the protocol's rules: L3 for leases and positions, L5 for backoffs, D7 for the poll."""

    mode: str = "relay"
    """`relay`: it sends. `cdc`: a connector sends, and it only watches the topics (L6)."""
    lease_seconds: float = 5.0
    poll_seconds: float = 1.0
    page_records_max: int = 1_000
    in_flight_records_max: int = 10_000
    in_flight_bytes_max: int = 32 * 1024 * 1024
    position_writes_per_second_max: float = POSITION_WRITES_PER_SECOND_MAX
    held_records_max: int = 1_000
    """Refused records of one outbox. More than that is a log set up wrongly: its lanes stop."""
    drain_seconds_max: float = 3.0
    """What is under way at a stop is waited for so long; the rest is sent after the next start."""
    rewind_seconds: float = 600.0
    """Sent again when the database is found on another server (protocol L1)."""
    retry: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        """Refuse limits that would break the rules."""
        if self.mode not in MODES:
            raise ConfigurationError(f"relay: mode is {self.mode!r}, not one of {MODES}")
        for name, limit in (
            ("lease_seconds", LEASE_SECONDS_MAX),
            ("poll_seconds", POLL_SECONDS_MAX),
            ("position_writes_per_second_max", POSITION_WRITES_PER_SECOND_MAX),
        ):
            if not 0 < getattr(self, name) <= limit:
                raise ConfigurationError(f"relay: {name} must be above 0 and at most {limit:g}")
        if self.retry.cap_seconds > BACKOFF_SECONDS_MAX:
            raise ConfigurationError(
                f"relay: a backoff may last {BACKOFF_SECONDS_MAX:g} s at most (protocol L5)"
            )


@dataclass
class RelayFigures:
    """Counted since the process started, but for `lanes` and `in_flight`, which are now."""

    lanes: int = 0
    in_flight: int = 0
    sent: int = 0
    """Acknowledged records; one that was sent again counts again."""
    refused: int = 0
    """Records that the log takes never, held since."""
    produce_errors: int = 0
    """Times that a lane stopped because of the log."""
    position_writes: int = 0
    leases_lost: int = 0
