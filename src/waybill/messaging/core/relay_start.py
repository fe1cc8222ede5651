"""Where a new way of an outbox may begin, and what is told to who must not start (L1, L6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Sequence


class Drained(msgspec.Struct, frozen=True):
    """What `undrained` found: rows that a reader (or the relay) has yet to pass, by its name.

    With nobody behind, another way may begin at `boundary`.
    """

    mode: str
    boundary: tuple[int, ...]
    behind: dict[str, int]


def starting_points(
    service: str, mode: str, *, boundary: Sequence[int] | None, last_seq: int
) -> Sequence[int]:
    """Positions at which a relay begins after `mode`. Raises ConfigurationError if not drained."""
    if boundary is not None:
        return boundary
    if not last_seq:
        return [0] * ALL_LANES
    if mode == "cdc":
        raise ConfigurationError(in_cdc(service))
    if mode == "relay":
        raise ConfigurationError(
            f"{service} has a relay that sends: start it with WAYBILL_OUTBOX_MODE=relay and run "
            "`waybill drain` before a connector takes over"
        )
    raise ConfigurationError(
        f"{service} is read directly: start it without KAFKA_BROKERS and run `waybill drain`, "
        "then start it with KAFKA_BROKERS again, so that no message is lost between the two"
    )


def in_cdc(service: str) -> str:
    """Why nothing else may begin."""
    return (
        f"{service} has a connector that sends: start it with WAYBILL_OUTBOX_MODE=cdc and run "
        "`waybill drain` first, then stop the connector"
    )


def feeds_a_log(service: str) -> str:
    """Why it cannot be read directly."""
    return (
        f"{service} feeds Kafka: set KAFKA_BROKERS, or run `waybill drain` with it first, "
        "so that no message is lost between the two ways"
    )


def other_log(service: str, lag: int, old: str, new: str) -> str:
    """Why another log than the last one cannot be fed yet."""
    return (
        f"{service} has {lag} messages that the log {old} does not have, and this is "
        f"the log {new}: start with the old one until `waybill relay status` shows lag 0, or "
        f"send all that is retained to the new one: `waybill relay rewind {service}`"
    )
