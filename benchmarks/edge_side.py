"""The other processes of the edge's benchmark: a gateway on one core, and a stub behind it.

`python -m benchmarks.edge_side gateway|stub` with one JSON object on standard input; it says
`ready` once it serves, and ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from random import SystemRandom
from typing import Any

from waybill.edge.gateway.settings import GatewaySettings
from waybill.edge.limits.ports import Quota
from waybill.edge.tokens.keys import IssuerKeys
from waybill.edge.tokens.settings import TokenSettings
from waybill.edge.tokens.verifier import TokenVerifier
from waybill.messaging.runtime.clock import SystemClock
from waybill.platform.event_loop import run
from waybill.platform.foreground import spare_the_collector
from waybill.platform.gateway import NAME, GatewayApplication
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer, bind
from waybill.platform.metrics import ServiceMetrics

ISSUER, AUDIENCE = "https://accounts.example", "waybill"
ORDER = json.dumps(
    {
        "id": "0197a9f0-0000-7000-8000-000000000000",
        "status": "CONFIRMED",
        "totalAmount": 59.98,
        "currency": "EUR",
        "items": [{"productId": "1" * 8, "quantity": 2, "unitPrice": 29.99}],
    }
).encode()
"""What the stub answers, whatever it is asked: a small order."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ORDER),
    ORDER,
)
_MANY = 1_000_000


class Stub(asyncio.Protocol):
    """Answers every request's head with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: connected."""
        self._transport: Any = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came. GETs have no body."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            self._received = self._received[end + 4 :]
            self._transport.write(_ANSWER)


def verifier(keys: str, clock: SystemClock) -> TokenVerifier:
    """Of tokens that this issuer's keys have signed."""

    async def published() -> bytes:
        return keys.encode()

    settings = TokenSettings(issuer=ISSUER, audience=AUDIENCE)
    return TokenVerifier(
        settings, IssuerKeys(published, settings, monotonic=clock.monotonic), now=clock.now
    )


async def _stub(told: dict[str, Any], ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stub, "127.0.0.1", told["port"])
    _say_ready()
    await ended.wait()
    server.close()


async def _gateway(told: dict[str, Any], ended: asyncio.Event) -> None:
    """As the platform runs it: its server, its limits, its metrics; quotas that nobody reaches."""
    clock, limits = SystemClock(), HttpLimits()
    application = GatewayApplication(
        GatewaySettings(
            upstreams={"order": (told["upstream"],)},
            subject=Quota("subject", _MANY, 1),
            address=Quota("address", _MANY, 1),
        ),
        clock=clock,
        random=SystemRandom().random,
        observer=ServiceMetrics(NAME, version="0", saga="none"),
        limits=limits,
        verifier=verifier(told["keys"], clock),
    )
    await application.open()
    server = HttpServer(application, bind(told["port"]), limits)
    await server.start()
    spare_the_collector()
    _say_ready()
    await ended.wait()
    await server.stop()
    await application.close()


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def _until_signal(which: str, told: dict[str, Any]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await (_gateway if which == "gateway" else _stub)(told, ended)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    with suppress(AttributeError, OSError):  # not everywhere can a process be pinned
        os.sched_setaffinity(0, given["cores"])
    run(_until_signal(sys.argv[1], given))
