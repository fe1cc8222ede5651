"""Where a consumer stands in a source that it has just reached: pure rules D4 and D6."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from waybill.messaging.reading.ports import Stored


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What the source answers to a reader that registers.

    `known` tells whether the reader held back retention until now; `positions` are the reported
    ones, `horizon` is the first seq that is still there.
    """

    known: bool
    horizon: int
    horizon_at: datetime
    last_seq: int
    system_identifier: str
    timeline: int
    start: tuple[int, ...]
    positions: tuple[int, ...]


class Standing(Enum):
    """What to do about the source."""

    NEW = "new"
    CONTINUES = "continues"
    RESTORED = "restored"
    BELOW_HORIZON = "below horizon"


def standing(stored: Stored, registration: Registration, *, highest: int) -> Standing:
    """Judge by identity and positions; `highest` is the highest seq ever fetched from there.

    Whether the rows at the positions are still the same ones is asked later.
    A position below the horizon alone proves no loss: an idle lane's never moves (D5). Rows can
    have gone unread only if retention did not know this reader, or knew a later position of it
    (then this consumer's own database was restored).
    """
    if stored.positions is None:
        return Standing.NEW
    if (stored.system_identifier, stored.timeline) != (
        registration.system_identifier,
        registration.timeline,
    ) or highest > registration.last_seq:
        return Standing.RESTORED
    for position, reported in zip(stored.positions, registration.positions, strict=True):
        unprotected = not registration.known or position < reported
        if unprotected and position < registration.horizon - 1:
            return Standing.BELOW_HORIZON
    return Standing.CONTINUES
