"""The port behind which services are found, and the simplest way: a list that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Found = dict[str, tuple[str, ...]]
"""Addresses (`http://host:port`) by the service's documented name, as `order-service`."""


class Discovery(Protocol):
    """Where services are. May be asked again at any time, by one caller after another."""

    async def find(self, services: Collection[str]) -> Found:
        """The instances of each that take requests now; none of one that nobody knows.

        Asks over the network, within a bound. Raises TransientError: nothing is known, so that
        what was found before still holds.
        """

    async def close(self) -> None:
        """Close its connections. May be repeated."""


class StaticDiscovery:
    """These, whatever happens to them."""

    def __init__(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        self._addresses = {name: tuple(map(checked, urls)) for name, urls in addresses.items()}

    async def find(self, services: Collection[str]) -> Found:
        """See Discovery. Never raises."""
        return {name: self._addresses.get(name, ()) for name in services}

    async def close(self) -> None:
        """See Discovery."""


def checked(url: str) -> str:
    """An instance's address. Raises ConfigurationError for another form."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
        raise ConfigurationError(f"address {url!r}: give http(s)://host:port")
    return url
