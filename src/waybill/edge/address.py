"""Whose address a request comes from. A header counts only from a proxy that is ours (B67)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNKNOWN = "unknown"
"""A peer without an address (a Unix socket): all such share one."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks of our own proxies. Raises ConfigurationError."""
    try:
        return tuple(ipaddress.ip_network(text.strip()) for text in texts)
    except ValueError as error:
        raise ConfigurationError(f"trusted proxies: {error}") from None


def client_address(scope: Scope, proxies: tuple[Network, ...]) -> str:
    """The peer's; behind our proxies the right-most address that is none of them.

    A whole /64 of IPv6 counts as one address: it is what one customer has.
    """
    client = scope.get("client")
    address = _parsed(client[0]) if client else None
    if address is None:
        return UNKNOWN
    forwarded = [
        hop
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for hop in value.decode("latin-1").split(",")
    ]
    while forwarded and any(address in network for network in proxies):
        hop = _parsed(forwarded.pop().strip())
        if hop is None:
            break
        address = hop
    return _shown(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _shown(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)
