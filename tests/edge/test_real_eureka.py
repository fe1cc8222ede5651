"""Spring Cloud's Eureka server, as it comes from Maven Central, with our services in it."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from scripts.kafka import jars, machine
from tests.acceptance.conftest import new_platform
from tests.acceptance.processes import wait_for
from tests.kafka.broker import free_port

from waybill.edge.registry.eureka import EurekaClient, EurekaDiscovery
from waybill.edge.registry.registration import Registration, RegistrationSettings
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform

__all__ = ["new_platform"]

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

POM = Path(__file__).with_name("eureka.pom.xml")
SOURCE = Path(__file__).with_name("EurekaServer.java")
UP_SECONDS = 240
JSON = {"Accept": "application/json"}
ARGUMENTS = (
    "--eureka.client.register-with-eureka=false",
    "--eureka.client.fetch-registry=false",
    "--eureka.server.enable-self-preservation=false",
    "--eureka.server.use-read-only-response-cache=false",
    "--eureka.server.eviction-interval-timer-in-ms=500",
    "--server.address=127.0.0.1",
)
"""Alone, and without its caches' 30 seconds."""


@pytest.fixture(scope="module")
def eureka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    directory, port = tmp_path_factory.mktemp("eureka"), free_port()
    path = f"{directory}{os.pathsep}{jars.fetched(POM)}/*"
    compiler = [machine.program("javac"), "-cp", path, "-d", str(directory), str(SOURCE)]
    subprocess.run(compiler, check=True, capture_output=True)
    options = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    command = [machine.program("java"), *options, "-cp", path, "waybill.EurekaServer"]
    log = directory / "eureka.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *ARGUMENTS, f"--server.port={port}"], stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}/eureka"

    client = httpx2.Client(timeout=5)

    def answers() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            return client.get(f"{url}/apps").status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_for(answers, UP_SECONDS, "Eureka is up")
        yield url
    finally:
        process.kill()
        process.wait()
        client.close()


def statuses(url: str) -> dict[str, str]:
    """What it shows of every application."""
    found: dict[str, Any] = httpx2.get(f"{url}/apps", headers=JSON, timeout=5).json()
    return {
        each["name"]: instance["status"]
        for each in found["applications"]["application"]
        for instance in each["instance"]
    }


async def test_an_instance_lives_in_a_real_eureka(eureka: str) -> None:
    """Registered, renewed, registered again when forgotten, out of service, gone."""
    said = ["UP"]

    async def status() -> str:
        return said[-1]

    client = EurekaClient([eureka])
    settings = RegistrationSettings(
        host="127.0.0.1", heartbeat_seconds=3600, lease_seconds=7200, drain_seconds=0
    )
    ours = Registration(EurekaClient([eureka]), settings, clock=SystemClock())
    await ours.announce("order-service", 8081, status)
    [instance] = ours._instances
    discovery = EurekaDiscovery(client)
    here = {"order-service": ("http://127.0.0.1:8081",)}
    assert await discovery.find(["order-service"]) == here
    assert await ours._renewed(instance)
    assert await client.cancel(instance.app, instance.id)
    assert not await ours._renewed(instance)
    await ours._beat(instance)
    assert await discovery.find(["order-service"]) == here
    said.append("DOWN")
    await ours._beat(instance)
    assert statuses(eureka) == {"ORDER-SERVICE": "DOWN"}
    await ours.withdraw()
    assert statuses(eureka) == {"ORDER-SERVICE": "OUT_OF_SERVICE"}
    await ours.close()
    assert await discovery.find(["order-service"]) == {"order-service": ()}
    await discovery.close()


def test_a_platform_registers_with_a_real_eureka_and_its_gateway_finds_it_there(
    eureka: str, new_platform: NewPlatform
) -> None:
    """R009: every service is in it while it serves; orders go by its answers; then none is."""
    environment = {
        "WAYBILL_REGISTRY_URLS": eureka,
        "WAYBILL_REGISTRY_DRAIN_SECONDS": "1",
        "WAYBILL_DISCOVERY_REFRESH_SECONDS": "0.5",
        "WAYBILL_GATEWAY": "true",
        "PAYMENT_SIMULATE_FORCEOUTCOME": "success",
    }
    with new_platform(**environment) as platform, closing(httpx2.Client()) as client:
        platform.start()
        names = ("ORDER", "PAYMENT", "INVENTORY", "NOTIFICATION")
        wait_for(
            lambda: statuses(eureka) == {f"{name}-SERVICE": "UP" for name in names},
            20,
            "every service is in Eureka",
        )

        def products() -> object:
            try:
                return client.get(f"{platform.url(0)}/api/products").json().get("items")
            except httpx2.TransportError:
                return None

        wait_for(products, 20, "the gateway is up and has found inventory")
        listed = platform.run("registry")
        assert f"{platform.url(1)}" in listed.stdout, listed.stderr
        assert platform.stop() == 0
        assert statuses(eureka) == {}
