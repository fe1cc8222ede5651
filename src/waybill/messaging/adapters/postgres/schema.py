"""Constants of the `messaging` schema: names, revisions, the lock class of the lanes."""

from __future__ import annotations

KNOWN_REVISIONS = (
    "messaging_0001",
    "messaging_0002",
    "messaging_0003",
    "messaging_0004",
    "messaging_0005",
    "messaging_0006",
)
"""Every revision that this version can read, oldest first."""

HEAD_REVISION = KNOWN_REVISIONS[-1]

DEFAULT_PARTITION_ROWS = 1_000_000

LANE_LOCK_CLASS = 1_462_846_540
"""First key of `pg_advisory_xact_lock(class, lane)`: ASCII "W1DL" as a number, one per database."""
