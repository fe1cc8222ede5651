"""Discovery out of the settings: what is wrong is told at the start, what is right is found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.processes import free_port_base, wait_for
from tests.edge.registry_world import instance_of, served_registry

from waybill.edge.registry.discovery import StaticDiscovery
from waybill.edge.registry.dns_discovery import DnsDiscovery
from waybill.edge.registry.eureka import EurekaClient, EurekaDiscovery
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.discovery import (
    RegistryServer,
    discovery_of,
    registration_of,
    registry_urls,
)
from waybill.platform.http.health import Component, Health
from waybill.platform.presence import Presence
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "much-secret"  # noqa: S105 - of a test
PORTS = {"order-service": 8081, "payment-service": 8082}


async def test_a_process_is_found_until_it_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ready as it says of itself; out of service before it stops; then not there."""
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    ready = [Component("UP")]

    async def check() -> Component:
        return ready[-1]

    health = Health({"db": check})
    async with served_registry(password=PASSWORD) as w:
        settings = Settings.load(
            registry_urls=w.url,
            registry_drain_seconds=0.1,
            discovery_refresh_seconds=0.1,
            registry_heartbeat_seconds=0.1,
        )
        client = EurekaClient([w.url], user="waybill", password=PASSWORD)

        async def status() -> list[str]:
            return [each["status"] for each in await client.instances()]

        presence = Presence(settings, hosts=False)
        await presence.start()
        await presence.announce("order-service", 8081, health)
        assert await status() == ["UP"]
        ready.append(Component("DOWN"))
        while await status() != ["DOWN"]:
            pass
        health.draining = True
        await presence.withdraw()
        assert await status() == ["OUT_OF_SERVICE"]
        await presence.close()
        assert await status() == []
        await client.close()


async def test_who_runs_the_registry_waits_for_nobody() -> None:
    """It ends with its services: a goodbye would be heard by nobody."""
    settings = Settings.load(registry=True, port_base=free_port_base(), registry_drain_seconds=300)
    presence = Presence(settings, hosts=True)
    async with AsyncExitStack() as stack:
        presence.bind(stack)
        await presence.start()
        await presence.announce("order-service", 8081, Health({}))
        client = EurekaClient(registry_urls(settings))
        assert len(await client.instances()) == 1
        await client.close()
        await presence.withdraw()
        await presence.close()


def _registered(**given: object) -> Callable[[], object]:
    return lambda: registration_of(Settings.load(registry=True, **given))


def _found(**given: object) -> Callable[[], object]:
    return lambda: discovery_of(Settings.load(**given), PORTS)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_registered(host="0.0.0.0", insecure=True), "WAYBILL_REGISTRY_HOST"),  # noqa: S104 - refused
        (_registered(registry_drain_seconds=1), "WAYBILL_DISCOVERY_REFRESH_SECONDS"),
        (_registered(registry_lease_seconds=5), "WAYBILL_REGISTRY_HEARTBEAT_SECONDS"),
        (_found(discovery="eureka"), "WAYBILL_REGISTRY_URLS"),
        (_found(discovery="dns", discovery_dns_name="_order._tcp.x"), "{service}"),
        (_found(discovery_addresses="http://a:1"), "WAYBILL_DISCOVERY_ADDRESSES"),
        (_found(discovery_addresses="orders=http://a:1"), "order-service"),
        (_found(discovery_addresses="order-service=a:1"), "http(s)://host:port"),
        (
            lambda: RegistryServer(Settings.load(host="10.0.0.1", tokens_issuer="http://i")),
            "REGISTRY_PASSWORD",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_set(make: Callable[[], object], told: str) -> None:
    """Before anything starts, by the name of the setting."""
    with pytest.raises(ConfigurationError, match=told.replace("(", r"\(").replace(")", r"\)")):
        make()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, StaticDiscovery),
        ({"registry": True}, EurekaDiscovery),
        ({"registry_urls": "http://a:8761/eureka"}, EurekaDiscovery),
        ({"registry": True, "discovery": "static"}, StaticDiscovery),
        ({"discovery": "dns", "discovery_dns_server": "127.0.0.1:5353"}, DnsDiscovery),
    ],
)
async def test_the_settings_say_how_services_are_found(
    given: dict[str, Any], kind: type[object]
) -> None:
    """Without one by a list of this machine, with a registry by that, else as it is told."""
    discovery = discovery_of(Settings.load(**given), PORTS)
    assert isinstance(discovery, kind)
    await discovery.close()


async def test_a_list_names_instances_and_the_rest_is_here() -> None:
    """A service that is not in it is on this machine."""
    given = "order-service=http://a:1, order-service=http://b:1"
    discovery = discovery_of(Settings.load(discovery_addresses=given), PORTS)
    assert await discovery.find(list(PORTS)) == {
        "order-service": ("http://a:1", "http://b:1"),
        "payment-service": ("http://127.0.0.1:8082",),
    }


@pytest.mark.acceptance
def test_the_registry_runs_alone_and_is_listed(tmp_path: Any) -> None:  # noqa: ANN401 - pytest's
    """`waybill serve registry` needs no data; `waybill registry` lists, or says what to do."""
    place = ["--port-base", str(free_port_base()), "--data", str(tmp_path / "none")]

    def waybill(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "waybill", *arguments, *place]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    nobody = waybill("registry")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "waybill serve registry" in nobody.stderr
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "waybill", "serve", "registry", *place], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{int(place[1]) + 8}"
    try:
        with closing(httpx2.Client(timeout=5)) as client:

            def answers() -> bool:
                try:
                    return client.get(f"{url}/readyz").status_code == 200
                except httpx2.TransportError:
                    return False

            wait_for(answers, 30, "the registry is up")
            document = {"instance": instance_of("order-service", 8081)}
            client.post(f"{url}/eureka/apps/order-service", json=document)
        [row] = [json.loads(line) for line in waybill("registry", "--json").stdout.splitlines()]
        assert (row["service"], row["status"]) == ("order-service", "UP")
        assert (row["address"], row["lease_seconds"]) == ("http://127.0.0.1:8081", 15)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (tmp_path / "none").exists()
