"""How a relay is doing: what is unsent and since when, what is held, who owns which lane."""

from __future__ import annotations

from datetime import datetime

import msgspec


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One lane. `lag` counts rows above the position; `owner` is None while nobody holds it."""

    lane: int
    position: int
    last_seq: int
    lag: int
    oldest_unsent_seconds: float
    held: int
    owner: str | None
    moved_at: datetime


class RelayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One outbox. In direct mode the lanes say nothing."""

    mode: str
    log: str | None
    is_drained: bool
    lanes: tuple[LaneStatus, ...]

    @property
    def lag(self) -> int:
        """Rows that the log does not have and that are not held."""
        return sum(lane.lag for lane in self.lanes)

    @property
    def oldest_unsent_seconds(self) -> float:
        """Age of the oldest of them; 0 if there is none."""
        return max((lane.oldest_unsent_seconds for lane in self.lanes), default=0.0)

    @property
    def held(self) -> int:
        """Records that wait for an operator, or behind one that does."""
        return sum(lane.held for lane in self.lanes)

    @property
    def owners(self) -> tuple[str, ...]:
        """The instances that own lanes."""
        return tuple(sorted({lane.owner for lane in self.lanes if lane.owner is not None}))
