"""How much is measured: rounds and seconds of the whole run and of a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Every size of a run. Seconds are those of one side's window unless they say otherwise."""

    rounds: int = 5
    seconds: float = 10.0
    warm_up_seconds: float = 2.0
    sweep_seconds: float = 5.0
    """Of each setting of a baseline that is tried."""
    connections: int = 128
    snapshot_rounds: int = 2
    snapshot_seconds: float = 120.0
    snapshot_window_seconds: float = 20.0
    snapshot_windows: int = 5
    """The window before the snapshot, and the last one under it, are cut into so many."""
    backlog_rounds: int = 1
    backlog_orders: int = 200_000
    orders_few: int = 10_000
    orders_many: int = 1_000_000
    minutes: float = 60.0


QUICK = Effort(
    rounds=2,
    seconds=3.0,
    warm_up_seconds=1.0,
    sweep_seconds=1.5,
    snapshot_rounds=1,
    snapshot_seconds=20.0,
    snapshot_window_seconds=6.0,
    snapshot_windows=3,
    backlog_orders=10_000,
    orders_many=100_000,
    minutes=12.0,
)
"""A look at whether all of it works and where the figures lie; none of them is final."""
