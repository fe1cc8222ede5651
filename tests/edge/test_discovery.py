"""Finding services: one contract over every backend, and what both sides make of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.edge.conftest import MovingClock
from tests.edge.registry_world import FailingStore, instance_of, name_server, served_registry

from waybill.edge.gateway.upstreams import Upstream
from waybill.edge.gateway.watching import Watch
from waybill.edge.registry.discovery import StaticDiscovery
from waybill.edge.registry.dns_discovery import DnsDiscovery
from waybill.edge.registry.eureka import EurekaClient, EurekaDiscovery, address_of
from waybill.edge.registry.registration import Registration, RegistrationSettings
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from waybill.edge.registry.discovery import Discovery, Found
    from waybill.edge.registry.documents import Document

HEARTBEAT_SECONDS = 3600.0
ORDER, PAYMENT = "order-service", "payment-service"


@dataclass
class Backend:
    """A backend, and how a test changes what it finds. `put` has a service at these ports."""

    discovery: Discovery
    put: Callable[[str, list[int]], Awaitable[None]]
    go_away: Callable[[], None] | None


@pytest.fixture(params=["static", "eureka", "dns"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each of them."""
    async with AsyncExitStack() as stack:
        made = await {"static": _static, "eureka": _eureka, "dns": _dns}[request.param](stack)
        yield made
        await made.discovery.close()


async def _static(_: AsyncExitStack) -> Backend:
    addresses: dict[str, tuple[str, ...]] = {}
    made = Backend(StaticDiscovery({}), _never, None)

    async def put(service: str, ports: list[int]) -> None:
        addresses[service] = tuple(f"http://127.0.0.1:{port}" for port in ports)
        made.discovery = StaticDiscovery(addresses)

    made.put = put
    return made


async def _never(service: str, ports: list[int]) -> None:
    raise AssertionError((service, ports))


async def _eureka(stack: AsyncExitStack) -> Backend:
    store = FailingStore()
    w = await stack.enter_async_context(served_registry(store))
    client = EurekaClient([w.url])

    async def put(service: str, ports: list[int]) -> None:
        for entry in (await w.registry.look()).live:
            if entry.app == service.upper():
                await w.registry.cancel(entry.app, entry.id)
        for port in ports:
            await client.register(service.upper(), instance_of(service, port))
        for port, status in ((1, "DOWN"), (2, "OUT_OF_SERVICE"), (3, "STARTING")):
            await client.register(service.upper(), instance_of(service, port, status=status))

    def go_away() -> None:
        store.away = True

    return Backend(EurekaDiscovery(client), put, go_away)


async def _dns(stack: AsyncExitStack) -> Backend:
    server = await stack.enter_async_context(name_server())

    async def put(service: str, ports: list[int]) -> None:
        best = [f"1 0 {port} 127.0.0.1." for port in ports]
        worse = ["9 0 1 elsewhere.test."] if ports else []
        server.records[f"_{service}._tcp.shop.test"] = [*best, *worse]

    def go_away() -> None:
        server.answers = False

    found = DnsDiscovery("_{service}._tcp.shop.test", server=server.address)
    return Backend(found, put, go_away)


async def test_it_finds_what_takes_requests_and_sees_every_change(backend: Backend) -> None:
    """The contract: every service asked for is answered; what changed is found at the next look."""
    both = (ORDER, PAYMENT)
    assert await backend.discovery.find(both) == {ORDER: (), PAYMENT: ()}
    await backend.put(ORDER, [8081, 8091])
    expected = ("http://127.0.0.1:8081", "http://127.0.0.1:8091")
    assert await backend.discovery.find(both) == {ORDER: expected, PAYMENT: ()}
    await backend.put(ORDER, [8091])
    await backend.put(PAYMENT, [8082])
    assert await backend.discovery.find(both) == {
        ORDER: ("http://127.0.0.1:8091",),
        PAYMENT: ("http://127.0.0.1:8082",),
    }
    await backend.put(ORDER, [])
    assert (await backend.discovery.find([ORDER]))[ORDER] == ()


async def test_not_knowing_is_not_finding_nobody(backend: Backend) -> None:
    """The contract: while nothing can be known it raises, so that what was known still holds."""
    if backend.go_away is None:
        return  # a list is never away
    await backend.put(ORDER, [8081])
    backend.go_away()
    with pytest.raises(TransientError):
        await backend.discovery.find([ORDER])


@pytest.mark.parametrize(
    ("instance", "address"),
    [
        ({"hostName": "h", "port": {"$": 80, "@enabled": "true"}}, "http://h:80"),
        ({"ipAddr": "10.0.0.1", "port": {"$": "80", "@enabled": True}}, "http://10.0.0.1:80"),
        ({"hostName": "fd00::1", "port": {"$": 80, "@enabled": "true"}}, "http://[fd00::1]:80"),
        (
            {
                "hostName": "h",
                "port": {"$": 80, "@enabled": "true"},
                "securePort": {"$": 443, "@enabled": "true"},
            },
            "https://h:443",
        ),
        ({"hostName": "h", "port": {"$": 80, "@enabled": "false"}}, ""),
        ({"hostName": "h/x?y#", "port": {"$": 80, "@enabled": "true"}}, ""),
        ({"hostName": "a@b", "port": {"$": 80, "@enabled": "true"}}, ""),
        ({"hostName": "h", "port": {"$": "80/x", "@enabled": "true"}}, ""),
        ({"port": {"$": 80, "@enabled": "true"}}, ""),
        ({"hostName": "h", "port": 80}, ""),
    ],
)
def test_an_instances_address_is_a_host_and_a_port(instance: Document, address: str) -> None:
    """What somebody registered cannot lead a request elsewhere."""
    assert address_of(instance) == address


async def test_of_several_registries_one_that_answers_is_enough() -> None:
    """A registry that is gone costs a try; without any, TransientError."""
    async with served_registry() as w:
        client = EurekaClient(["http://127.0.0.1:9/eureka", w.url])
        await client.register("A", instance_of("a", 1))
        assert [each["app"] for each in await client.instances()] == ["A"]
        await client.close()
    client = EurekaClient(["http://127.0.0.1:9/eureka"])
    with pytest.raises(TransientError):
        await client.instances()
    await client.close()


@pytest.mark.parametrize("urls", [[], ["localhost:8761"], ["http://u:p@h/eureka"]])
def test_a_registrys_url_is_checked_at_the_start(urls: list[str]) -> None:
    """And holds no password, which would be shown with the settings."""
    with pytest.raises(ConfigurationError):
        EurekaClient(urls)
    with pytest.raises(ConfigurationError):
        DnsDiscovery("_order._tcp.shop.test")


class Slept(MovingClock):
    """Sleeping moves it; nobody wakes for a heartbeat."""

    async def sleep(self, seconds: float) -> None:
        if seconds == HEARTBEAT_SECONDS:
            await asyncio.Event().wait()
        self.instant += timedelta(seconds=seconds)


def registration(url: str, clock: Slept, password: str = "") -> Registration:
    """Of this machine, with heartbeats as a test asks for them."""
    settings = RegistrationSettings(
        host="127.0.0.1", heartbeat_seconds=HEARTBEAT_SECONDS, lease_seconds=7200
    )
    client = EurekaClient([url], user="waybill", password=password)
    return Registration(client, settings, clock=clock)


async def test_an_instance_registers_drains_and_goes() -> None:
    """Found when it is announced; out of service for the time of a drain; then not there."""
    said = ["UP"]

    async def status() -> str:
        return said[-1]

    async with served_registry(password="s3cret-enough") as w:  # noqa: S106 - of a test
        client = EurekaClient([w.url], user="waybill", password="s3cret-enough")  # noqa: S106
        clock = Slept()
        ours = registration(w.url, clock, "s3cret-enough")
        await ours.announce(ORDER, 8081, status)
        await ours.announce(PAYMENT, 8082, status)
        found = await EurekaDiscovery(client).find([ORDER, PAYMENT])
        assert found == {ORDER: ("http://127.0.0.1:8081",), PAYMENT: ("http://127.0.0.1:8082",)}
        before = clock.instant
        await ours.withdraw()
        assert clock.instant - before == timedelta(seconds=5)
        assert {each["status"] for each in await client.instances()} == {"OUT_OF_SERVICE"}
        await ours.close()
        assert await client.instances() == []
        await client.close()


async def test_a_heartbeat_tells_what_changed_and_what_was_forgotten() -> None:
    """Its status as it is now; and who is not known any more registers again."""
    said = ["UP"]

    async def status() -> str:
        return said[-1]

    async with served_registry() as w:
        client = EurekaClient([w.url])
        ours = registration(w.url, Slept())
        await ours.announce(ORDER, 8081, status)
        [instance] = ours._instances
        said.append("DOWN")
        await ours._beat(instance)
        assert [each["status"] for each in await client.instances()] == ["DOWN"]
        said.append("UP")
        await ours._beat(instance)
        await w.registry.cancel(instance.app, instance.id)
        await ours._beat(instance)
        assert [each["status"] for each in await client.instances()] == ["UP"]
        await ours.close()
        await client.close()


async def test_a_registry_that_is_away_stops_no_service() -> None:
    """It is told when it is back; nobody waits for the goodbye that nobody hears."""

    async def status() -> str:
        return "UP"

    clock = Slept()
    ours = registration("http://127.0.0.1:9/eureka", clock)
    await ours.announce(ORDER, 8081, status)
    before = clock.instant
    await ours.withdraw()
    await ours.close()
    assert clock.instant == before


class Told:
    """A discovery that answers what a test says."""

    def __init__(self) -> None:
        self.found: Found | None = {}

    async def find(self, services: object) -> Found:
        del services
        if self.found is None:
            raise TransientError("away")
        return self.found

    async def close(self) -> None:
        """Nothing to close."""


async def test_the_gateway_goes_by_what_is_found_and_keeps_it_through_outages() -> None:
    """A change counts at once; an empty or absent answer not before its time is over."""
    clock, told = MovingClock(), Told()
    upstream = Upstream("order", (), random=lambda: 0.0, monotonic=clock.monotonic)
    watch = Watch(told, {"order": upstream}, names={"order": ORDER}, clock=clock, keep_seconds=60)
    await watch.refresh()
    assert not upstream.urls
    steps: list[tuple[str, ...]] = [("http://a:1",), ("http://a:1", "http://b:1"), ("http://b:1",)]
    for urls in steps:
        told.found = {ORDER: urls}
        await watch.refresh()
        assert upstream.urls == urls
    nobody: Found = {ORDER: ()}
    for away in (None, {}, nobody):
        told.found = away
        clock.instant += timedelta(seconds=19)
        await watch.refresh()
        assert upstream.urls == ("http://b:1",)
    clock.instant += timedelta(seconds=3)
    await watch.refresh()
    assert not upstream.urls


def test_an_instance_that_has_just_failed_comes_last() -> None:
    """It is put aside at once, and asked if nobody else is there."""
    clock = MovingClock()
    upstream = Upstream(
        "order", ("http://a:1", "http://b:1"), random=lambda: 0.0, monotonic=clock.monotonic
    )
    lease = upstream.lease()
    assert lease is not None
    failed = lease.instance.url
    upstream.done(lease, failed=True)
    for _ in range(5):
        lease = upstream.lease()
        assert lease is not None
        assert lease.instance.url != failed
        upstream.done(lease, failed=False)
    upstream.replace([failed])
    assert upstream.lease() is not None
