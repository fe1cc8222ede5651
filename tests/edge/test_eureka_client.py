"""A foreign client of Eureka, which knows nothing of us, at our registry."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from py_eureka_client import eureka_basic, eureka_client
from py_eureka_client.http_client import HTTPError
from tests.edge.registry_world import served_registry

from waybill.commerce.testing.http_server import Asked, Reply, TryServer
from waybill.edge.registry.eureka import EurekaClient, EurekaDiscovery
from waybill.edge.registry.registration import Registration, RegistrationSettings
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.edge.registry_world import ServedRegistry

NEVER = 3_600
"""Heartbeats are sent when a test says so."""
PASSWORD = "much-secret"  # noqa: S105 - of a test


class OrderService(TryServer):
    """Says that it was reached."""

    def reply(self, asked: Asked) -> Reply:
        return Reply(200, b'{"at": "%s"}' % asked.path.encode())


def foreign(w: ServedRegistry) -> eureka_client.EurekaClient:
    """A service of somebody else, with its own ways."""
    return eureka_client.EurekaClient(
        eureka_server=w.url.replace("://", f"://waybill:{PASSWORD}@"),
        app_name="legacy-catalog",
        instance_host="127.0.0.1",
        instance_ip="127.0.0.1",
        instance_port=9099,
        renewal_interval_in_secs=NEVER,
    )


def ours(w: ServedRegistry) -> Registration:
    """Our side of a service."""
    client = EurekaClient([w.url], user="waybill", password=PASSWORD)
    settings = RegistrationSettings(
        host="127.0.0.1", heartbeat_seconds=NEVER, lease_seconds=2 * NEVER, drain_seconds=0
    )
    return Registration(client, settings, clock=SystemClock())


async def up() -> str:
    """A service that is well."""
    return "UP"


async def test_a_foreign_client_finds_our_services_and_we_find_it() -> None:
    """R009: py-eureka-client registers, renews, calls our service by its name, and goes."""
    async with served_registry(password=PASSWORD) as w, OrderService() as order:
        registration = ours(w)
        await registration.announce("order-service", urlsplit(order.url).port or 0, up)
        client = foreign(w)
        await client.start()
        try:
            told = await client.do_service("ORDER-SERVICE", "/api/orders", return_type="json")
            assert told == {"at": "/api/orders"}
            mine = EurekaDiscovery(EurekaClient([w.url], user="waybill", password=PASSWORD))
            found = await mine.find(["legacy-catalog"])
            assert found == {"legacy-catalog": ("http://127.0.0.1:9099",)}
            await client.send_heartbeat()
            await client.status_update("OUT_OF_SERVICE")
            assert await mine.find(["legacy-catalog"]) == {"legacy-catalog": ()}
            await client.delete_status_override()
            assert await mine.find(["legacy-catalog"]) == found
        finally:
            await client.stop()
        assert await mine.find(["legacy-catalog"]) == {"legacy-catalog": ()}
        await mine.close()
        await registration.close()


async def test_a_foreign_client_hears_of_every_change() -> None:
    """Its delta has who came and who went, and its own hash then agrees with ours."""
    async with served_registry(password=PASSWORD) as w:
        errors: list[object] = []
        client = foreign(w)
        client._EurekaClient__on_error_callback = lambda kind, error: errors.append((kind, error))
        await client.start()
        try:
            registration = ours(w)
            await registration.announce("order-service", 8081, up)
            await client._EurekaClient__fetch_delta()
            order = client.applications.get_application("ORDER-SERVICE")
            assert [each.port.port for each in order.up_instances] == [8081]
            await registration.withdraw()
            await client._EurekaClient__fetch_delta()
            assert order.up_instances == []
            assert client._EurekaClient__is_hash_match()
            await registration.close()
            await client._EurekaClient__fetch_delta()
            assert order.instances == []
            assert client._EurekaClient__is_hash_match()
        finally:
            await client.stop()
        assert errors == []


async def test_its_single_calls_are_answered_as_by_eureka() -> None:
    """One application, one instance, a virtual address; and 404 for who is not there."""
    async with served_registry(password=PASSWORD) as w:
        url = w.url.replace("://", f"://waybill:{PASSWORD}@")
        registration = ours(w)
        await registration.announce("payment-service", 8082, up)
        application = await eureka_basic.get_application(url, "payment-service")
        [instance] = application.instances
        assert (instance.hostName, instance.port.port, instance.status) == ("127.0.0.1", 8082, "UP")
        assert instance.leaseInfo.durationInSecs == 3600  # no lease is longer
        same = await eureka_basic.get_app_instance(url, "PAYMENT-SERVICE", instance.instanceId)
        assert same.instanceId == instance.instanceId
        by_address = await eureka_basic.get_vip(url, "payment-service")
        assert [each.name for each in by_address.applications] == ["PAYMENT-SERVICE"]
        await eureka_basic.cancel(url, "PAYMENT-SERVICE", instance.instanceId)
        with pytest.raises(HTTPError):
            await eureka_basic.get_application(url, "payment-service")
        await registration.close()
