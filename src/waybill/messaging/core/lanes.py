"""Lanes: the ordered slices of an outbox. One key always falls into one lane (protocol O4)."""

from __future__ import annotations

from zlib import crc32

LANE_COUNT = 16
"""A constant of the schema, never a setting: two lanes for one key would lose its order."""

DEAD_LETTER_LANE = 16
"""Lane of the `.DLT` records only, so that a stop there stops no other lane."""

ALL_LANES = LANE_COUNT + 1


def lane_of(key: str) -> int:
    """Lane of a partition key: CRC-32 (ISO-HDLC, as in zlib) of its UTF-8 bytes, modulo 16."""
    return crc32(key.encode()) % LANE_COUNT
