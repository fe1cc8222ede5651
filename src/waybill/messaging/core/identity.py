"""UUIDv7 (RFC 9562 section 5.7), made by the client of the database."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable


class UuidFactory:
    """Makes UUIDv7 that ascend inside this process, whatever the clock does.

    48 bits of Unix milliseconds, then 12 + 62 bits that start at random in every millisecond and
    count up inside it (RFC 9562 section 6.2, method 2).
    """

    def __init__(
        self,
        milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._milliseconds = milliseconds
        self._random_bits = random_bits
        self._last_milliseconds = 0
        self._tail = 0

    def __call__(self) -> UUID:
        """One new id, greater than every earlier one of this factory."""
        now = self._milliseconds()
        if now > self._last_milliseconds:
            self._last_milliseconds = now
            self._tail = self._random_bits(73)
        else:
            self._tail += 1 + self._random_bits(32)
        high, low = self._tail >> 62, self._tail & ((1 << 62) - 1)
        value = (self._last_milliseconds << 80) | (7 << 76) | (high << 64) | (2 << 62) | low
        return UUID(int=value)


new_id = UuidFactory()
