"""What counts calls and attempts by key. Every process for itself, or all of them together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from waybill.messaging.core.errors import ConfigurationError


@dataclass(frozen=True)
class Quota:
    """`count` at once, and as many again in every `window_seconds`."""

    name: str
    count: int
    window_seconds: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.window_seconds < 1:
            raise ConfigurationError(f"quota {self.name}: count and window must be at least 1")

    @property
    def rate(self) -> float:
        """So many come back in a second."""
        return self.count / self.window_seconds

    @property
    def policy(self) -> str:
        """As RateLimit-Policy says it (draft-ietf-httpapi-ratelimit-headers-10)."""
        return f'"{self.name}";q={self.count};w={self.window_seconds}'


class Taken(NamedTuple):
    """What one call left. `wait_seconds` is 0 if it was allowed."""

    quota: Quota
    remaining: int
    full_seconds: int
    wait_seconds: float

    @classmethod
    def at(cls, quota: Quota, level: float, *, allowed: bool) -> Taken:
        """Of a bucket that has so much left."""
        full = math.ceil((quota.count - level) / quota.rate)
        wait = 0.0 if allowed else (1 - level) / quota.rate
        return cls(quota, int(level), full, wait)

    @property
    def limit(self) -> str:
        """As RateLimit says it."""
        return f'"{self.quota.name}";r={self.remaining};t={self.full_seconds}'


@dataclass(frozen=True, kw_only=True)
class AttemptLimit:
    """So many within so long; of so many keys at once, the longest quiet ones are forgotten."""

    name: str
    attempts_max: int
    window_seconds: float
    keys_max: int = 50_000


class Buckets(Protocol):
    """Of one quota, a bucket a key. Never raises for want of a store: it counts by itself then."""

    async def take(self, key: str) -> Taken:
        """One call of this key; a refused one takes nothing."""


class Attempts(Protocol):
    """Of one limit, within a sliding window. Never raises for want of a store, as Buckets."""

    async def take(self, key: str) -> float:
        """Count one; 0 if it is allowed, else the seconds until one will be (it is not counted)."""

    async def forget(self, key: str) -> None:
        """It succeeded: what came before does not count against it."""


class Limits(Protocol):
    """Makes both; what it makes for one name counts together."""

    def buckets(self, quota: Quota) -> Buckets:
        """For calls."""

    def attempts(self, limit: AttemptLimit) -> Attempts:
        """For attempts."""
