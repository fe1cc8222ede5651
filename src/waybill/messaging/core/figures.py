"""What a service's messaging looks like from outside: backlog, lag, what waits for an operator."""

from __future__ import annotations

import msgspec


class Waiting(msgspec.Struct, frozen=True):
    """Outside calls of one kind and state: how many, of how many the outcome is unknown."""

    count: int
    unknown: int = 0
    oldest_seconds: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """One look at one service's database; `mode` says who reads its outbox.

    `lag` and `lag_seconds` by (consumer, topic, lane) of this service's own outbox, as its readers
    last reported; `silent_seconds` by reader, `dead_letters_open` by consumer, `deliveries` by
    (kind, state). `spare_partitions` is None where an outbox has no partitions.
    """

    mode: str
    lag: dict[tuple[str, str, int], int]
    lag_seconds: dict[tuple[str, str, int], float]
    outbox_pending: int
    outbox_oldest_pending_seconds: float
    spare_partitions: int | None
    silent_seconds: dict[str, float]
    dead_letters_open: dict[str, int]
    deliveries: dict[tuple[str, str], Waiting]
