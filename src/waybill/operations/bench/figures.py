"""The figures of one measurement, and the arithmetic that makes them. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.percentiles import Percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.operations.bench.counters import Rows, Work

CURVE: Final = (*range(100), 99.9, 99.99, 100)
"""The percentiles that are kept for plots."""


class Latency(msgspec.Struct, frozen=True, rename="camel"):
    """A distribution in milliseconds."""

    samples: int
    p50: float
    p90: float
    p99: float
    max: float
    curve: tuple[tuple[float, float], ...]
    """Percentile and milliseconds."""


class AnOrder(msgspec.Struct, frozen=True, rename="camel"):
    """What one accepted order cost, from the first send until everything was at rest."""

    statements: float
    commits: float
    wal_bytes: float
    rows_inserted: float
    rows_updated: float
    rows_updated_in_place: float
    rows_deleted: float
    python_cpu_microseconds: float
    postgres_cpu_microseconds: float
    load_cpu_microseconds: float
    messages: float
    """Written into outboxes."""


class Sample(msgspec.Struct, frozen=True, rename="camel"):
    """One moment of the run."""

    seconds: float
    """Since the run began."""
    accepted: int
    confirmed: int
    python_bytes: int
    postgres_bytes: int


class Measured(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One phase's figures."""

    name: str
    rate: float
    """Orders per second asked for; 0: as many as are carried."""
    connections: int
    seconds: float
    """For how long orders were sent."""
    began_seconds: float
    """Since the run began, when the first order was due."""
    rest_seconds: float
    """From the last send until nothing was under way."""
    accepted: int
    refused: dict[str, int]
    unknown: int
    cancelled: int
    confirmed: int
    accepted_per_second: float
    confirmed_per_second: float
    post: Latency
    confirmed_seen: Latency
    confirmed_written: Latency
    confirmed_polled: Latency | None
    left_out_of_poll: int
    """Of the sample: too many were looked at already."""
    an_order: AnOrder
    python_bytes_max: int
    postgres_bytes_max: int
    looks: int


def latency(samples: Sequence[float]) -> Latency:
    """The distribution of samples in seconds."""
    found = Percentiles(samples)
    ms = found.milliseconds
    curve = tuple((float(at), ms(at)) for at in CURVE) if len(found) else ()
    return Latency(len(found), ms(50), ms(90), ms(99), ms(100), curve)


def per_second(count: int, began: float, ended: float) -> float:
    """A rate; 0 if nothing happened."""
    return count / (ended - began) if count and ended > began else 0.0


def an_order(before: Work, after: Work, rows: tuple[Rows, Rows], orders: int) -> AnOrder:
    """Differences by order. `rows` are those before and after. `orders` must be above 0."""
    first, last = rows
    micro = 1_000_000 / orders
    return AnOrder(
        statements=(after.statements - before.statements) / orders,
        commits=(after.commits - before.commits) / orders,
        wal_bytes=(after.wal_bytes - before.wal_bytes) / orders,
        rows_inserted=(last.inserted - first.inserted) / orders,
        rows_updated=(last.updated - first.updated) / orders,
        rows_updated_in_place=(last.updated_in_place - first.updated_in_place) / orders,
        rows_deleted=(last.deleted - first.deleted) / orders,
        python_cpu_microseconds=(after.python_cpu_seconds - before.python_cpu_seconds) * micro,
        postgres_cpu_microseconds=(after.postgres_cpu_seconds - before.postgres_cpu_seconds)
        * micro,
        load_cpu_microseconds=(after.load_cpu_seconds - before.load_cpu_seconds) * micro,
        messages=(after.messages - before.messages) / orders,
    )


def by_second(samples: Sequence[Sample]) -> list[tuple[float, float, float]]:
    """Between each two samples: the time in the middle, accepted and confirmed a second."""
    found = []
    for earlier, later in pairwise(samples):
        span = later.seconds - earlier.seconds
        if span > 0:
            accepted = (later.accepted - earlier.accepted) / span
            confirmed = (later.confirmed - earlier.confirmed) / span
            found.append(((earlier.seconds + later.seconds) / 2, accepted, confirmed))
    return found
