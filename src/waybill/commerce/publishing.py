"""Puts the events of a decision into the outbox of the unit that saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.commerce.publication import Publication
    from waybill.messaging.core.unit import UnitOfWork


class Counters(Protocol):
    """Business counters (contracts 1.6). Must not raise or block."""

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count what has been committed: call it from `on_commit` only."""

    def observe(self, name: str, seconds: Sequence[float], **labels: str) -> None:
        """Take durations into account that have been committed: as `add`."""


def publish(
    unit: UnitOfWork,
    publications: Iterable[Publication],
    *,
    aggregate_type: str,
    traceparent: str | None = None,
    correlation_id: str | None = None,
) -> None:
    """Append them in the decision's order; they become visible with the commit.

    `traceparent` and `correlation_id` are for those that no message led to, `correlation_id` before
    the one that a publication has itself (neither: the order's id).
    """
    for publication in publications:
        unit.publish(
            publication.event,
            key=publication.key,
            cause=publication.cause,
            traceparent=publication.traceparent or traceparent,
            correlation_id=correlation_id or publication.correlation_id,
            aggregate_type=aggregate_type,
            aggregate_version=publication.aggregate_version,
        )


def count(unit: UnitOfWork, counters: Counters, name: str, amount: int, **labels: str) -> None:
    """Count `amount` once this unit has committed; nothing if it rolls back (contracts D23)."""
    if amount:
        unit.on_commit(lambda: counters.add(name, amount, **labels))


def measure(
    unit: UnitOfWork, counters: Counters, name: str, seconds: Sequence[float], **labels: str
) -> None:
    """Observe `seconds` once this unit has committed; nothing if it rolls back."""
    if seconds:
        unit.on_commit(lambda: counters.observe(name, seconds, **labels))
