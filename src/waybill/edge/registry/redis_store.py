"""The registry's entries in Redis: several registries share them, and a restart finds them.

One hash holds everything, so that it works on a cluster too. `waybill[redis]` brings the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from redis.exceptions import RedisError

from waybill.commerce.caching.redis_link import redis_client
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

Result = TypeVar("Result")

KEY: Final = "registry:instances"
ANSWER_SECONDS_MAX: Final = 1.0
_SWAP: Final = """
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""
"""Compare and set of one member; the empty string stands for nothing."""


class RedisStore:
    """A `RegistryStore`. `prefix` keeps platforms apart that share a Redis."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self._key = prefix + KEY
        self._redis = redis_client(url, ANSWER_SECONDS_MAX)

    async def read(self) -> Mapping[str, bytes]:
        """See RegistryStore."""
        found = await _asked(cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._key)))
        return {key.decode(): value for key, value in found.items()}

    async def get(self, key: str) -> bytes | None:
        """See RegistryStore."""
        # The client is annotated for clients that decode; this one does not.
        return await _asked(
            cast("Awaitable[bytes | None]", cast("Any", self._redis).hget(self._key, key))
        )

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """See RegistryStore."""
        command = cast("Any", self._redis).eval(_SWAP, 1, self._key, key, old or b"", new or b"")
        return bool(await _asked(command))

    async def close(self) -> None:
        """See RegistryStore."""
        await self._redis.aclose()


async def _asked(command: Awaitable[Result]) -> Result:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await command
    except (RedisError, OSError, TimeoutError) as error:
        raise TransientError(f"the registry's Redis: {type(error).__name__}") from error
