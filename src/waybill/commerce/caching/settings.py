"""Where the cache is and what it may cost: REDIS_URL, or the names that the documents use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import SAMPLES, secret_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """Where it is, and every limit. `timeout_seconds` is what a dead Redis may cost a request.

    A request that would be the one above `commands_max` at once goes without the cache.
    """

    url: str = field(repr=False)
    timeout_seconds: float = 0.1
    commands_max: int = 64
    value_bytes_max: int = 65_536
    prefix: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigurationError("REDIS_URL: give redis://host:port/database, or rediss://")
        if (urlsplit(self.url).password or "").lower() in SAMPLES:
            raise ConfigurationError(
                "REDIS_URL holds a password that everybody tries: set one that nobody can guess"
            )
        if self.timeout_seconds <= 0 or self.commands_max < 1 or self.value_bytes_max < 1:
            raise ConfigurationError("REDIS_* limits are above 0")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """REDIS_URL, or the documents' REDIS_HOST and REDIS_PORT; None without either.

        Raises ConfigurationError for a value that is not of its kind.
        """
        given = {name: text for name, text in environment.items() if text}
        url = secret_of(given, "REDIS_URL") or _url(given)
        if not url:
            return None
        limits: dict[str, Any] = {}
        kinds = {"timeout_seconds": float, "commands_max": int, "value_bytes_max": int}
        for name, kind in kinds.items():
            variable = f"REDIS_{name.upper()}"
            if variable in given:
                try:
                    limits[name] = kind(given[variable])
                except ValueError as error:
                    raise ConfigurationError(f"{variable}: {error}") from error
        return cls(url=url, prefix=given.get("REDIS_PREFIX", ""), **limits)


def _url(given: Mapping[str, str]) -> str:
    """Out of host, port, user and password; empty without a host."""
    if "REDIS_HOST" not in given:
        return ""
    port = given.get("REDIS_PORT", "6379")
    if not port.isascii() or not port.isdigit():
        raise ConfigurationError(f"REDIS_PORT is {port!r}: give a number")
    password = secret_of(given, "REDIS_PASSWORD")
    who = f"{quote(given.get('REDIS_USER', ''), safe='')}:{quote(password, safe='')}@"
    return f"redis://{who if password else ''}{given['REDIS_HOST']}:{port}/0"
