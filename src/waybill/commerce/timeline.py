"""The way of an order, entry by entry, and how often its deadline asks about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.core.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

ASK_BACKOFF = Backoff(base_seconds=5.0, factor=2.0, cap_seconds=60.0)
"""Between the questions after a deadline (protocol M3)."""
ASK_PAUSE_SECONDS_MAX = 3600.0
"""Of an order that has been overdue for so long."""


def ask_pause(asks: int, overdue: timedelta, random: Callable[[], float]) -> timedelta:
    """How long after question `asks` (from 0) of an order that is `overdue` the next one follows.

    M3's minute, or as long again as the order has been waiting, up to an hour: what waits that
    long waits for somebody who is away, and finds the questions of before on coming back.
    """
    cap = max(ASK_BACKOFF.cap_seconds, min(overdue.total_seconds(), ASK_PAUSE_SECONDS_MAX))
    growing = Backoff(ASK_BACKOFF.base_seconds, ASK_BACKOFF.factor, cap)
    return timedelta(seconds=growing.delay_seconds(asks, random))


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened to an order; `to_status` is None if its status did not change."""

    order_id: UUID
    seq: int
    event: str
    from_status: str | None
    to_status: str | None
    at: datetime
    message_id: UUID | None = None
    detail: str | None = None


class StoredEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry as it stands in its order's row, by the names of the view's columns."""

    seq: int
    event: str
    from_status: str | None = None
    to_status: str | None = None
    at: datetime
    message_id: UUID | None = None
    detail: str | None = None


def as_stored(entry: TimelineEntry) -> StoredEntry:
    """Without the order's id, which the row has."""
    return StoredEntry(
        seq=entry.seq,
        event=entry.event,
        from_status=entry.from_status,
        to_status=entry.to_status,
        at=entry.at,
        message_id=entry.message_id,
        detail=entry.detail,
    )
