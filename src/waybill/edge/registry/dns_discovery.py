"""Services found by SRV records (RFC 2782), as Consul and Kubernetes publish them.

Of the records those of the lowest priority count; weights do not, as the gateway gives the next
request to who has the fewest. The name server says how fast a change is seen.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from dns import asyncresolver, resolver
from dns.exception import DNSException

from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Collection

    from waybill.edge.registry.discovery import Found

ANSWER_SECONDS_MAX: Final = 2.0
SERVICE: Final = "{service}"
PORT: Final = 53


class DnsDiscovery:
    """A `Discovery`. `pattern` is a name with `{service}` in it; `server` as `host` or `host:port`.

    Without a server the machine's own are asked. Raises ConfigurationError.
    """

    def __init__(
        self, pattern: str, *, server: str = "", answer_seconds_max: float = ANSWER_SECONDS_MAX
    ) -> None:
        if SERVICE not in pattern:
            raise ConfigurationError(f"{pattern!r} names every service alike: put {SERVICE} in it")
        self._pattern = pattern
        self._seconds_max = answer_seconds_max
        try:
            self._resolver = asyncresolver.Resolver(configure=not server)
        except resolver.NoResolverConfiguration as error:
            raise ConfigurationError(
                "the machine names no DNS server: set WAYBILL_DISCOVERY_DNS_SERVER"
            ) from error
        if server:
            host, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", "")
            self._resolver.nameservers = [host]
            self._resolver.port = int(port or PORT)

    async def find(self, services: Collection[str]) -> Found:
        """See Discovery. One query a service."""
        found = await asyncio.gather(*(self._of(name) for name in services))
        return dict(zip(services, found, strict=True))

    async def close(self) -> None:
        """See Discovery."""

    async def _of(self, service: str) -> tuple[str, ...]:
        name = self._pattern.replace(SERVICE, service)
        try:
            answer = await self._resolver.resolve(
                name, "SRV", lifetime=self._seconds_max, search=False
            )
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return ()
        except DNSException as error:
            raise TransientError(f"SRV of {name}: {type(error).__name__}") from error
        records = [(r.priority, r.target.to_text(omit_final_dot=True), r.port) for r in answer]
        best = min(priority for priority, _, _ in records)
        return tuple(
            sorted(
                f"http://{target}:{port}"
                for priority, target, port in records
                if priority == best and target != "."  # "." says: there is decidedly none
            )
        )
