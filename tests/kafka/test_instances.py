"""Two instances of a service behind the gateway: they share the load, and going costs nobody."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.faults.customers import Customers
from tests.faults.site import opened, recovered
from tests.kafka.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

GATEWAY, ORDER, REGISTRY = 0, 1, 8
HEARTBEAT_SECONDS, LEASE_SECONDS, REFRESH_SECONDS, DRAIN_SECONDS = 1.0, 3.0, 0.5, 2.0
ASKED = "http_server_request_duration_seconds_count"
ORDERS = 30
OVERLOADED = '"code":"overloaded"'


class Entry(PlatformProcess):
    """A process behind whose one port, so far above the base, everything is."""

    above = 0

    def url(self, offset: int) -> str:
        """Wherever it leads."""
        del offset
        return f"http://127.0.0.1:{self.port_base + self.above}"

    def _ready(self) -> bool:
        try:
            return self.client.get(f"{self.url(self.above)}/readyz").status_code == 200
        except httpx2.TransportError:
            return False


class ManyCustomers(Customers):
    """They keep what they were told when it was not that their order is placed."""

    def __init__(self, platform: PlatformProcess) -> None:
        super().__init__(platform)
        self.complaints: list[str] = []

    def _tell(self, key: str, began: float, answer: httpx2.Response | None) -> None:
        super()._tell(key, began, answer)
        if answer is None or answer.status_code != 201:
            self.complaints.append("no answer" if answer is None else answer.text)


@pytest.fixture
def site(session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """Four services on Kafka that register, each a process, and the registry itself."""
    directory = session_directory / "instances"
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    base = free_port_base()
    with running_broker(directory / "broker") as broker:
        environment = {
            "KAFKA_BROKERS": broker.bootstrap,
            "PAYMENT_SIMULATE_FORCEOUTCOME": "success",
            "WAYBILL_REGISTRY_URLS": f"http://127.0.0.1:{base + REGISTRY}/eureka",
            "WAYBILL_REGISTRY_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "WAYBILL_REGISTRY_LEASE_SECONDS": str(LEASE_SECONDS),
            "WAYBILL_REGISTRY_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "WAYBILL_DISCOVERY_REFRESH_SECONDS": str(REFRESH_SECONDS),
            "WAYBILL_GATEWAY_ADDRESS_REQUESTS_PER_MINUTE": "1000000",
        }
        with opened(directory / "data", port_base=base, environment=environment) as made:
            yield made
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def entry(site: Site, service: str, above: int) -> Iterator[Entry]:
    """The registry or the gateway, running."""
    order = site.order
    process = Entry(
        site.data, port_base=order.port_base, environment=order.environment, service=service
    )
    process.above = above
    with closing(process):
        process.start()
        try:
            yield process
        except BaseException:
            print(process.tail())  # noqa: T201 - pytest shows it
            raise


def listed(site: Site) -> dict[str, str]:
    """What `waybill registry` says: status by instance, of the order service."""
    told = site.order.run("registry", "--json")
    assert told.returncode == 0, told.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in told.stdout.splitlines()]
    return {row["address"]: row["status"] for row in rows if row["service"] == "order-service"}


def taken(process: PlatformProcess) -> float:
    """How many orders this instance was asked for."""
    text = process.client.get(f"{process.url(ORDER)}/metrics").text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"{ASKED}{{") and 'method="POST"' in line and '="/api/orders"' in line
    )


def registered(site: Site) -> set[str]:
    """Addresses of the order service's instances that take requests, as the registry says now."""
    url = site.order.environment["WAYBILL_REGISTRY_URLS"]
    accepts = {"Accept": "application/json"}
    answer = site.order.client.get(f"{url}/apps/ORDER-SERVICE", headers=accepts)
    if answer.status_code == 404:
        return set()
    instances = answer.json()["application"]["instance"]
    return {each["homePageUrl"].rstrip("/") for each in instances if each["status"] == "UP"}


def accept(customers: Customers, more: int) -> None:
    """Wait until so many more orders are accepted."""
    aim = len(customers.accepted) + more
    wait_for(lambda: len(customers.accepted) >= aim, 30, f"{more} more orders")


@contextmanager
def unfailed(site: Site, customers: ManyCustomers) -> Iterator[None]:
    """Nobody is refused while the block runs.

    But who stays takes all the load at once: on a busy machine it may say that it has too much to
    do (its own 503, counted by itself), as it would to anybody.
    """

    def shed() -> float:
        labels = {"http_route": "/api/orders", "http_response_status_code": "503"}
        return site.figure("order", ASKED, **labels)

    before, told = shed(), len(customers.complaints)
    yield
    complaints = customers.complaints[told:]
    busy = [complaint for complaint in complaints if OVERLOADED in complaint]
    assert [complaint for complaint in complaints if complaint not in busy] == []
    assert len(busy) <= shed() - before


def test_two_instances_share_the_load_and_neither_a_drain_nor_a_kill_fails_a_request(
    site: Site,
) -> None:
    """R009: both take orders; one drains, comes back, is killed: no customer is refused once.

    The killed one is out of the registry within its lease.
    """
    second = site.order.beside("order", port_base=free_port_base())
    with (
        entry(site, "registry", REGISTRY),
        entry(site, "gateway", GATEWAY) as gateway,
        closing(second),
    ):
        both = {site.order.url(ORDER), second.url(ORDER)}
        second.start()
        wait_for(lambda: registered(site) == both, 20, "both instances are registered")
        assert listed(site) == dict.fromkeys(both, "UP")
        with ManyCustomers(gateway) as customers:
            customers.resume()
            wait_for(lambda: taken(second) > 0, 20, "the gateway has found the second, too")
            begun = (taken(site.order), taken(second))
            accept(customers, ORDERS)
            shares = [taken(site.order) - begun[0], taken(second) - begun[1]]
            assert min(shares) > ORDERS / 4, shares
            with unfailed(site, customers):
                # drained: out of service first, then it serves on, then it ends
                assert second.stop() == 0
                assert registered(site) == both - {second.url(ORDER)}
                accept(customers, ORDERS)
            second.start()
            wait_for(lambda: taken(second) > ORDERS / 4, 20, "it is back")
            with unfailed(site, customers):
                second.kill_process()
                accept(customers, ORDERS)
                wait_for(
                    lambda: registered(site) == both - {second.url(ORDER)},
                    LEASE_SECONDS + HEARTBEAT_SECONDS,
                    "it is out within its lease",
                )
                accept(customers, ORDERS)
            customers.pause()
        site.customers.accepted.update(customers.accepted)
    recovered(site, time.monotonic())
