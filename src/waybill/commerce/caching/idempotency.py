"""`idem:<key>`: the stored answer to a repeated request, for a day, without asking the database.

The database is the truth: an entry is written after its commit, and only an entry of the same
caller, route and payload answers. All else is decided there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from waybill.commerce.caching.cache import Cache, WriteBehind

DAY_SECONDS: Final = 86_400.0
_SCOPE_DIGITS = 16


class Asked(msgspec.Struct, frozen=True):
    """Whose key it is, on which route, and the hash of the parsed payload (contracts C5, C42)."""

    scope: str
    route: str
    key: str
    fingerprint: str


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    asked: Asked
    answer: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class IdempotencyCache:
    """Answers that were given, by key."""

    def __init__(
        self, cache: Cache, writes: WriteBehind, *, lifetime_seconds: float = DAY_SECONDS
    ) -> None:
        self._cache = cache
        self._writes = writes
        self._lifetime_seconds = lifetime_seconds

    async def answer(self, asked: Asked) -> bytes | None:
        """The first answer to this very request; None means: ask the database."""
        name = _name(asked)
        found = (await self._cache.get([name])).get(name)
        if found is None:
            return None
        try:
            entry = _decode(found)
        except msgspec.MsgspecError:
            return None
        return entry.answer if entry.asked == asked else None

    def remember(self, asked: Asked, answer: bytes) -> None:
        """Call it once the answer is durable, never before."""
        value = _encode(_Entry(asked, answer))
        self._writes.later(_name(asked), value, seconds=self._lifetime_seconds)


def _name(asked: Asked) -> str:
    """The documented name for callers without a token; another caller's key is another key."""
    if not asked.scope:
        return f"idem:{asked.key}"
    scope = hashlib.sha256(asked.scope.encode()).hexdigest()[:_SCOPE_DIGITS]
    return f"idem:{scope}:{asked.key}"
