"""The way of an order, entry by entry, and how often its deadline asks about it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from waybill.messaging.core.retry import Backoff

ASK_BACKOFF = Backoff(base_seconds=5.0, factor=2.0, cap_seconds=60.0)
"""Between the questions after a deadline (protocol M3)."""


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
