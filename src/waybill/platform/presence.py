"""What a process of services does about discovery.

It runs the registry if it is asked to, puts its services into one, and takes them out before it
stops serving them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.platform.discovery import RegistryServer, registration_of
from waybill.platform.service_context import in_service

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from waybill.platform.http.health import Health
    from waybill.platform.settings import Settings


class Presence:
    """`bind`, `start`, `announce` each service, `withdraw`, `close`, in this order.

    `hosts`: the registry runs here; it ends with us, so that nobody waits for a goodbye.
    """

    def __init__(self, settings: Settings, *, hosts: bool) -> None:
        self._registration = registration_of(settings)
        self._server = RegistryServer(settings) if hosts else None

    def bind(self, stack: AsyncExitStack) -> None:
        """Take the registry's port. Raises ConfigurationError: it is in use."""
        if self._server is not None:
            self._server.bind(stack)

    async def start(self) -> None:
        """Serve the registry."""
        if self._server is not None:
            await self._server.start()

    async def announce(self, service: str, port: int, health: Health) -> None:
        """A service is served here, as ready as its health says."""

        async def status() -> str:
            return (await health.readiness()).status

        with in_service(service):
            await self._registration.announce(service, port, status)

    async def withdraw(self) -> None:
        """Nobody is sent here any more when this returns. May be repeated."""
        if self._server is None:
            await self._registration.withdraw()

    async def close(self) -> None:
        """Take what is announced out of the registry, and end it. May be repeated."""
        await self._registration.close()
        if self._server is not None:
            await self._server.stop()
