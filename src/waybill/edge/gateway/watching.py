"""Keeps the gateway's upstreams where discovery finds them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.edge.gateway.upstreams import Upstream
    from waybill.edge.registry.discovery import Discovery
    from waybill.messaging.runtime.clock import Clock

logger = logging.getLogger(__name__)


class Watch:
    """`names` are the services' documented ones by the upstreams' keys.

    A registry that has just started knows nobody: what was found before is kept for
    `keep_seconds`, since an instance that is really gone refuses connections.
    """

    def __init__(
        self,
        discovery: Discovery,
        upstreams: Mapping[str, Upstream],
        *,
        names: Mapping[str, str],
        clock: Clock,
        refresh_seconds: float = 2.0,
        keep_seconds: float = 60.0,
    ) -> None:
        self._discovery = discovery
        self._upstreams = upstreams
        self._names = {key: names[key] for key in upstreams if key in names}
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._keep_seconds = keep_seconds
        self._found_at: dict[str, float] = {}
        self._away = False

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await self._clock.sleep(self._refresh_seconds)
            try:
                await self.refresh()
            except Exception:
                logger.exception("Looking for instances failed")

    async def refresh(self) -> None:
        """Look once. What cannot be known now stays as it was known."""
        try:
            found = await self._discovery.find(tuple(self._names.values()))
        except TransientError as error:
            if not self._away:
                logger.warning("instances stay as they were known: %s", error)
            self._away = True
            return
        self._away = False
        now = self._clock.monotonic()
        for key, service in self._names.items():
            urls = found.get(service, ())
            if urls:
                self._found_at[key] = now
            elif now - self._found_at.get(key, -self._keep_seconds) < self._keep_seconds:
                continue
            if set(urls) != set(self._upstreams[key].urls):
                logger.info("%s is at %s", service, ", ".join(urls) or "no address")
                self._upstreams[key].replace(urls)

    async def close(self) -> None:
        """Close the discovery's connections. May be repeated."""
        await self._discovery.close()
