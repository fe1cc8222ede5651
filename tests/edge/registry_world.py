"""A registry on a port of its own, over any store, by a clock that a test moves."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from dns import flags, message, rcode, rdatatype, rrset
from prometheus_client import CollectorRegistry
from tests.edge.conftest import MovingClock
from tests.http.edge_memory import Responses

from waybill.edge.registry.api import surface
from waybill.edge.registry.registry import Registry
from waybill.edge.registry.store import MemoryStore
from waybill.messaging.core.errors import TransientError
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.http.limits import HttpLimits
from waybill.platform.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from waybill.edge.registry.store import RegistryStore


class FailingStore(MemoryStore):
    """Is away while a test says so."""

    away = False

    async def read(self) -> Mapping[str, bytes]:
        self._check()
        return await super().read()

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await super().get(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        self._check()
        return await super().swap(key, old, new)

    def _check(self) -> None:
        if self.away:
            raise TransientError("the store is away")


@dataclass
class ServedRegistry:
    """Where it is, and its clock."""

    url: str
    registry: Registry
    clock: MovingClock = field(default_factory=MovingClock)


@asynccontextmanager
async def served_registry(
    store: RegistryStore | None = None, *, password: str = ""
) -> AsyncIterator[ServedRegistry]:
    """A registry that answers on a free port of this machine."""
    clock = MovingClock()
    registry = Registry(store or MemoryStore(), now=clock.now)
    parts = HttpParts(
        title="registry",
        version="0.1.0",
        health=Health({}),
        registry=CollectorRegistry(),
        observer=Responses(),
        now=clock.now,
    )
    application = create_application(surface(registry, user="waybill", password=password), parts)
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    server = HttpServer(application, bound, HttpLimits(graceful_seconds=1))
    await server.start()
    try:
        yield ServedRegistry(f"http://127.0.0.1:{server.port}/eureka", registry, clock)
    finally:
        await server.stop()


def instance_of(service: str, port: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """What an instance on this machine registers with."""
    return {
        "instanceId": f"127.0.0.1:{service}:{port}",
        "app": service.upper(),
        "hostName": "127.0.0.1",
        "ipAddr": "127.0.0.1",
        "status": "UP",
        "port": {"$": port, "@enabled": "true"},
        "securePort": {"$": 443, "@enabled": "false"},
        "leaseInfo": {"renewalIntervalInSecs": 5, "durationInSecs": 15},
        "vipAddress": service,
        **more,
    }


class NameServer(asyncio.DatagramProtocol):
    """A DNS server with the SRV records that a test gives it."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        """By name, as `0 0 8081 host.example.`."""
        self.answers = True
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        asked = message.from_wire(data)
        answer = message.make_response(asked)
        answer.flags |= flags.AA
        [question] = asked.question
        records = self.records.get(question.name.to_text(omit_final_dot=True), [])
        if not self.answers:
            answer.set_rcode(rcode.SERVFAIL)
        elif not records:
            answer.set_rcode(rcode.NXDOMAIN)
        else:
            answer.answer.append(rrset.from_text(question.name, 30, "IN", rdatatype.SRV, *records))
        assert self._transport is not None
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """One that answers on a free port of this machine."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol
    finally:
        transport.close()
