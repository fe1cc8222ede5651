"""Every limit of the gateway, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from waybill.edge.limits.ports import Quota
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.edge.address import Network

SUBJECT: Final = Quota("subject", 600, 60)
ADDRESS: Final = Quota("address", 3_000, 60)


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """`upstreams` has every service's instances by its name, as `http://host:port`.

    Keep `idle_seconds` below the services' keep-alive: else a request may go into a connection
    that is just being closed. `proxies` are ours in front, whose X-Forwarded-For counts.
    """

    upstreams: Mapping[str, tuple[str, ...]]
    request_bytes_max: int = 65_536
    connect_seconds: float = 1.0
    answer_seconds: float = 15.0
    """Until the answer begins."""
    silence_seconds: float = 15.0
    """Between two parts of an answer."""
    connections_max: int = 256
    """To one service's instance; who waits longer than `connect_seconds` for one gets 503."""
    idle_seconds: float = 15.0
    subject: Quota = SUBJECT
    address: Quota = ADDRESS
    proxies: tuple[Network, ...] = ()
    cors_origins: tuple[str, ...] = field(default=())
    """Whose pages may call from a browser; none by default."""

    def __post_init__(self) -> None:
        for name, urls in self.upstreams.items():
            for url in urls:
                parts = urlsplit(url)
                if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
                    raise ConfigurationError(f"{name} at {url!r}: give http(s)://host:port")
        if "*" in self.cors_origins:
            raise ConfigurationError("cors_origins: name the origins; * would let every page call")
        if self.request_bytes_max < 1 or self.connections_max < 1:
            raise ConfigurationError("request_bytes_max and connections_max must be at least 1")
