"""Calls and attempts counted in Redis, by its clock, for all processes together.

While Redis is away each process goes on by its own count, which it keeps all the time: a limit
gets as loose as there are processes, never open (promises, rate limits). Keys stand there as
hashes: an address is nobody's business there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from waybill.edge.limits.memory import MemoryLimits
from waybill.edge.limits.ports import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.commerce.caching.redis_link import RedisLink, Script
    from waybill.edge.limits.memory import MemoryAttempts, MemoryBuckets
    from waybill.edge.limits.ports import AttemptLimit, Quota

_NOW: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
"""
# Numbers go in and out as text of 17 digits: Redis cuts what a script returns to whole ones.
_TAKE_CALL: Final = (
    _NOW
    + """
local count, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1] or ARGV[1]), tonumber(kept[2] or now)
level = math.min(count, level + math.max(0, now - at) * rate)
if level < 1 then return {0, string.format('%.17g', level)} end
level = level - 1
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level),
           'at', string.format('%.17g', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((count - level) / rate * 1000) + 1000)
return {1, string.format('%.17g', level)}
"""
)
_TAKE_ATTEMPT: Final = (
    _NOW
    + """
local window = tonumber(ARGV[2])
local first = redis.call('LINDEX', KEYS[1], 0)
while first and tonumber(first) <= now - window do
  redis.call('LPOP', KEYS[1])
  first = redis.call('LINDEX', KEYS[1], 0)
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return string.format('%.17g', tonumber(first) + window - now)
end
redis.call('RPUSH', KEYS[1], string.format('%.17g', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window * 1000) + 1000)
return '0'
"""
)
_KEY_HEX: Final = 32


class SharedBuckets:
    """`Buckets`. What either Redis or this process refuses is refused: Redis may have lost all."""

    def __init__(self, link: RedisLink, quota: Quota, own: MemoryBuckets) -> None:
        self._link = link
        self._take: Script = link.script(_TAKE_CALL)
        self._quota = quota
        self._own = own

    async def take(self, key: str) -> Taken:
        """See Buckets."""
        quota, name = self._quota, _name(self._link, "quota", self._quota.name, key)
        told = await self._link.do(lambda: self._take([name], [quota.count, repr(quota.rate)]))
        taken = None
        if told is not None:
            taken = Taken.at(quota, float(told[1]), allowed=bool(told[0]))
            if taken.wait_seconds > 0:
                return taken
        own = await self._own.take(key)
        return own if taken is None or own.wait_seconds > 0 else taken


class SharedAttempts:
    """`Attempts`, refused as in SharedBuckets."""

    def __init__(self, link: RedisLink, limit: AttemptLimit, own: MemoryAttempts) -> None:
        self._link = link
        self._take: Script = link.script(_TAKE_ATTEMPT)
        self._limit = limit
        self._own = own

    async def take(self, key: str) -> float:
        """See Attempts."""
        limit, name = self._limit, self._name(key)
        told = await self._link.do(
            lambda: self._take([name], [limit.attempts_max, repr(limit.window_seconds)])
        )
        if told is not None and (seconds := float(told)) > 0:
            return seconds
        return await self._own.take(key)

    async def forget(self, key: str) -> None:
        """See Attempts. What Redis does not hear now, it forgets when the window is over."""
        await self._own.forget(key)
        name = self._name(key)
        await self._link.do(lambda: self._link.redis.delete(name))

    def _name(self, key: str) -> str:
        return _name(self._link, "attempts", self._limit.name, key)


class SharedLimits:
    """`Limits` of all processes that use this Redis. The link is the caller's, to close."""

    def __init__(self, link: RedisLink, *, monotonic: Callable[[], float]) -> None:
        self._link = link
        self._memory = MemoryLimits(monotonic=monotonic)

    def buckets(self, quota: Quota) -> SharedBuckets:
        """See Limits."""
        return SharedBuckets(self._link, quota, self._memory.buckets(quota))

    def attempts(self, limit: AttemptLimit) -> SharedAttempts:
        """See Limits."""
        return SharedAttempts(self._link, limit, self._memory.attempts(limit))


def _name(link: RedisLink, kind: str, name: str, key: str) -> str:
    hashed = hashlib.sha256(key.encode()).hexdigest()[:_KEY_HEX]
    return f"{link.prefix}{kind}:{name}:{hashed}"
