"""Requests from one service to another, inside the process: the other's application answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from tests.state_machine.simulation import Simulation


class Between(httpx2.AsyncBaseTransport):
    """By the port that is asked; nobody listens there while its process is killed."""

    def __init__(self, world: Simulation) -> None:
        self._world = world

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2.AsyncBaseTransport."""
        base = self._world.settings.port_base
        for name, plan in self._world.plans.items():
            life = self._world.lives.get(name)
            if base + plan.port_offset == request.url.port and life and not life.process.killed:
                transport = httpx2.ASGITransport(app=life.application)
                return await transport.handle_async_request(request)
        raise httpx2.ConnectError("nobody listens there", request=request)
