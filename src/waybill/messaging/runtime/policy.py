"""The settings of a consumer: every limit has a name, a unit and a default."""

from __future__ import annotations

from dataclasses import dataclass, field

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.retry import Backoff


@dataclass(frozen=True, kw_only=True)
class ConsumerPolicy:
    """How one consumer batches, waits and gives up.

    `linger_seconds`: so long a message that nobody waits for (see `Consumer`) stays for others, to
    be decided with them: one transaction in place of one for each. 0: none stays.
    `positions_seconds`: so old the stored positions may become while many batches come. A
    crash reads at most that much again, and the inbox passes over it. 0: each batch stores its own,
    as it does wherever members share a log.
    `same_error_*`: that share of a batch, and at least that many, failing with one error class
    is a bad deployment (protocol C10): the consumer pauses, alarms and keeps trying.
    `dead_letters_max` in `dead_letters_window_seconds` stops it for an operator, over restarts.
    """

    batch_size_max: int = 500
    batch_work_seconds_max: float = 0.02
    batch_tries_after_conflict_max: int = 5
    linger_seconds: float = 0.05
    positions_seconds: float = 0.2
    idle_record_seconds: float = 1.0
    redrive_poll_seconds: float = 1.0
    redrive_size_max: int = 50
    dead_letters_max: int = 100
    dead_letters_window_seconds: float = 600.0
    same_error_share_max: float = 0.5
    same_error_count_min: int = 10
    error_text_max: int = 2_000
    stacktrace_text_max: int = 8_000
    close_seconds_max: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        positive = {
            "batch_size_max": self.batch_size_max,
            "batch_work_seconds_max": self.batch_work_seconds_max,
            "batch_tries_after_conflict_max": self.batch_tries_after_conflict_max,
            "redrive_size_max": self.redrive_size_max,
            "dead_letters_window_seconds": self.dead_letters_window_seconds,
            "same_error_count_min": self.same_error_count_min,
        }
        for name, value in positive.items():
            if value <= 0:
                reason = f"{name} must be above 0, not {value}"
                raise ConfigurationError(reason)
        not_negative = {
            "linger_seconds": self.linger_seconds,
            "positions_seconds": self.positions_seconds,
        }
        for name, value in not_negative.items():
            if value < 0:
                raise ConfigurationError(f"{name} must not be below 0: {value}")
        if not 0 < self.same_error_share_max <= 1:
            reason = f"same_error_share_max is a share in (0, 1], not {self.same_error_share_max}"
            raise ConfigurationError(reason)
