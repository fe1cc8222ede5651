"""UUIDv7 (RFC 9562 section 5.7), made by the client of the database."""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable


class BufferedRandomBits:
    """`secrets.randbits` for many small draws: asks the kernel once in dozens of them.

    A forked process starts with bits of its own: the same ones would be the same ids, and an
    inbox would take one message for the other.
    """

    def __init__(self, block_bytes: int = 256) -> None:
        self._block_bytes = block_bytes
        self._pool = 0
        self._left = 0
        _all_bits.add(self)

    def forget(self) -> None:
        """Draw what is left never again."""
        self._left = 0

    def __call__(self, bits: int) -> int:
        """An integer of so many random bits."""
        if bits > self._left:
            self._pool = int.from_bytes(secrets.token_bytes(self._block_bytes))
            self._left = self._block_bytes * 8
        drawn = self._pool & ((1 << bits) - 1)
        self._pool >>= bits
        self._left -= bits
        return drawn


_all_bits: WeakSet[BufferedRandomBits] = WeakSet()


def _forked() -> None:
    for bits in _all_bits:
        bits.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class UuidFactory:
    """Makes UUIDv7 that ascend inside this process, whatever the clock does.

    48 bits of Unix milliseconds, then 12 + 62 bits that start at random in every millisecond and
    count up inside it (RFC 9562 section 6.2, method 2).
    """

    def __init__(
        self,
        milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[int], int] | None = None,
    ) -> None:
        self._milliseconds = milliseconds
        self._random_bits = random_bits or BufferedRandomBits()
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
