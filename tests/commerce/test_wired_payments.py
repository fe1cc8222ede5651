"""Payments as the platform wires them: events say who captured, and as what; nobody waits in vain.

The payment service is asked by its own outbox: topics that no source has are the service's own.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.commerce.support import eventually
from tests.commerce.test_orders_intake import request

from waybill.blueprints.checkout import CHECKOUT, PROCESS
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.blueprints.orchestration_events import OrderCreated
from waybill.commerce.charging import CHARGE_PATH, Charge
from waybill.commerce.http.surface import encoded
from waybill.commerce.orders.handlers import OrderHandler
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.paying import OrderPayments
from waybill.commerce.orders.request import Placed
from waybill.commerce.payments.webhook import sign
from waybill.commerce.payments.webhook_api import PATH as WEBHOOK
from waybill.commerce.sku import SkuLine, made_id, product_of
from waybill.commerce.testing.provider_server import ProviderServer
from waybill.commerce.waiting import Waiting
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.core.breaker import BreakerPolicy, BreakerState
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.service import MessagingService
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.paying import RequestPayments
from waybill.platform.services import PLANS, Workshop
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.conftest import TestDatabases

    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.contracts import Event
    from waybill.commerce.orders.paying import PayingIntake
    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.core.ports import Database

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
LINE = SkuLine(product_of("SKU-123") or new_id(), 2, Decimal(1200), "SKU-123")
CHARGE = "SELECT charge_id::text FROM app.charges WHERE idempotency_key = $1"
TOLD = "SELECT payload FROM messaging.outbox WHERE topic = 'payment.events' ORDER BY seq"
WAIT_SECONDS = 30.0
"""The longest that a request may wait for its payment: who waits in vain is seen."""


@pytest.fixture
def fresh(
    commerce_templates: dict[str, str], databases: TestDatabases
) -> Iterator[Callable[[str], str]]:
    """Gives the address of a new database of a service."""
    names: list[str] = []

    def made(service: str) -> str:
        names.append(databases.copy(commerce_templates[service]))
        return databases.server.url(names[-1])

    yield made
    for name in names:
        databases.drop(name)


class Payments:
    """A running payment service."""

    def __init__(self, messaging: MessagingService, client: httpx2.AsyncClient) -> None:
        self._messaging = messaging
        self.client = client

    @property
    def database(self) -> Database:
        """The service's own."""
        return self._messaging.ports.database

    async def ask(self, *events: Event) -> None:
        """As the order service would, one record each."""
        async with self._messaging.unit() as unit:
            for event in events:
                key = str(event.order_id)
                unit.publish(event, key=key, correlation_id=key)

    async def hear(self, body: bytes) -> None:
        """As the provider would tell it."""
        headers = sign(SECRET, "msg_1", body, now=datetime.now(UTC))  # noqa: TID251 - its clock
        answer = await self.client.post(WEBHOOK, content=body, headers=headers)
        assert answer.status_code == 204

    async def told(self, count: int) -> list[dict[str, Any]]:
        """What stands in its topic, once there are so many."""

        async def there() -> bool:
            return len(await self.database.fetch(TOLD)) >= count

        await eventually(there)
        return [msgspec.json.decode(row["payload"]) for row in await self.database.fetch(TOLD)]


@asynccontextmanager
async def payment_service(
    url: str, provider_url: str = "", *, blueprint: Blueprint = ORCHESTRATION
) -> AsyncIterator[Payments]:
    """Build it as the platform does, with the environment's provider, and run its loops."""
    plan = PLANS["payment"]
    messaging = MessagingService(plan.name, url=url, codec=blueprint.codec(), notify=False)
    metrics = ServiceMetrics(plan.name, version="test")
    await messaging.connect()
    built = await plan.build(
        Workshop(
            blueprint=blueprint,
            messaging=messaging,
            metrics=metrics,
            settings=Settings.load(
                payment_force_outcome="success", payment_wait_seconds=WAIT_SECONDS
            ),
            provider_url=provider_url,
        )
    )
    parts = HttpParts(
        title=plan.name,
        version="test",
        health=Health({}),
        registry=CollectorRegistry(),
        observer=metrics,
        now=messaging.ports.clock.now,
    )
    transport = httpx2.ASGITransport(app=create_application(built.surface, parts))
    messaging.start()
    async with httpx2.AsyncClient(transport=transport, base_url="http://payment") as client:
        try:
            yield Payments(messaging, client)
        finally:
            await messaging.stop()
            for each in (*built.clients, *built.databases):
                await each.close()


def order() -> OrderCreated:
    """One of 2400 LKR."""
    return OrderCreated(
        order_id=new_id(),
        customer_id=made_id("user", "usr_001"),
        user_id="usr_001",
        items=(LINE,),
        total_amount=Decimal(2400),
        currency="LKR",
    )


@pytest.fixture
async def outside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderServer]:
    """A provider by HTTP, which the environment names and gives a name."""
    async with ProviderServer(new_id=new_id) as server:
        monkeypatch.setenv("PAYMENT_PROVIDER_URL", server.url)
        monkeypatch.setenv("PAYMENT_PROVIDER_NAME", "Stripe")
        monkeypatch.setenv("PAYMENT_WEBHOOK_SECRETS", SECRET)
        yield server


async def test_events_name_the_provider_and_its_own_name_of_the_charge(
    fresh: Callable[[str], str], outside: ProviderServer
) -> None:
    """R092, R217: of a capture both, repeated too; of a refusal the provider."""
    paid, refused = order(), order()
    outside.declines.add(str(refused.order_id))
    async with payment_service(fresh("payment")) as payments:
        await payments.ask(paid)
        (first,) = await payments.told(1)
        charge = outside.charges[str(paid.order_id)]
        assert (first["data"]["provider"], first["data"]["authCode"]) == ("Stripe", charge.id)
        await payments.ask(paid)
        _, again = await payments.told(2)
        assert again["data"] == first["data"]
        await payments.ask(refused)
        *_, no = await payments.told(3)
        await payments.ask(refused)
        *_, repeated = await payments.told(4)
    assert no["type"] == "PaymentFailed"
    assert (no["data"]["provider"], no["data"]["detail"]) == ("Stripe", "Insufficient funds")
    assert repeated["data"] == no["data"]


async def test_a_webhook_tells_of_the_capture_as_the_call_would(
    fresh: Callable[[str], str], outside: ProviderServer
) -> None:
    """With the order's lines, the provider and its reference: what it was told by is not seen."""
    placed = order()
    key = str(placed.order_id)
    outside.pends.add(key)
    async with payment_service(fresh("payment")) as payments:
        await payments.ask(placed)

        async def asked() -> bool:
            return key in outside.charges

        await eventually(asked)
        await payments.hear(outside.webhook("charge", key).replace(b'"pending"', b'"captured"'))
        (told,) = await payments.told(1)
    assert told["type"] == "PaymentSucceeded"
    data = told["data"]
    assert (data["provider"], data["authCode"]) == ("Stripe", outside.charges[key].id)
    assert data["items"] == [{"sku": "SKU-123", "qty": 2}]


@pytest.mark.parametrize(("outcome", "status"), [("captured", 200), ("declined", 402)])
async def test_a_webhook_wakes_the_request_that_waits_for_its_charge(
    fresh: Callable[[str], str],
    outside: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
    status: int,
) -> None:
    """C31: what it tells is the request's answer, at once, as if the call had been told it."""
    monkeypatch.setattr("waybill.platform.services.CHARGE_WAIT_SECONDS_MAX", WAIT_SECONDS)
    order_id = new_id()
    key = str(order_id)
    outside.pends.add(key)
    async with payment_service(fresh("payment"), blueprint=CHECKOUT) as payments:
        body = encoded(Charge(order_id, Decimal(2400), "LKR"))
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        async with asyncio.timeout(WAIT_SECONDS / 2), asyncio.TaskGroup() as tasks:
            asking = payments.client.post(CHARGE_PATH, content=body, headers=headers)
            answer = tasks.create_task(asking)

            async def asked() -> bool:
                return key in outside.charges

            await eventually(asked)
            assert not answer.done()
            told = outside.webhook("charge", key).replace(b'"pending"', f'"{outcome}"'.encode())
            await payments.hear(told)
    assert answer.result().status_code == status


async def test_the_simulator_says_that_it_is_one(fresh: Callable[[str], str]) -> None:
    """Its ledger's name of the charge is what the event shows; one of before has no name."""
    ledger = fresh("provider")
    old, new = order(), order()
    async with payment_service(fresh("payment"), ledger) as payments:
        await payments.ask(old, new)
        told = {each["data"]["orderId"]: each["data"] for each in await payments.told(2)}
        data = told[f"ord_{new.order_id}"]
        books = await PostgresDatabase.connect(ledger)
        (charge,) = await books.fetch(CHARGE, str(new.order_id))
        await books.close()
        assert (data["provider"], data["authCode"]) == ("simulated", charge["charge_id"])
        async with payments.database.transaction() as transaction:
            await transaction.execute(
                """
                UPDATE messaging.deliveries SET request = convert_to(
                    (convert_from(request, 'UTF8')::jsonb - 'provider')::text, 'UTF8'),
                    outcome = '{"type":"Delivered"}'
                WHERE key = $1
                """,
                str(old.order_id),
            )
        await payments.ask(old)
        *_, again = await payments.told(3)
    assert "provider" not in again["data"]
    assert "authCode" not in again["data"]
    assert again["data"]["paymentId"] == told[f"ord_{old.order_id}"]["paymentId"]


@asynccontextmanager
async def paying_orders(url: str) -> AsyncIterator[tuple[PayingIntake, Breaker]]:
    """The intake of `checkout`, with the platform's own calls; and their breaker."""
    name = PLANS["order"].name
    messaging = MessagingService(name, url=url, codec=CHECKOUT.codec(), notify=False)
    metrics = ServiceMetrics(name, version="test")
    await messaging.connect()
    shop = Workshop(
        blueprint=CHECKOUT,
        messaging=messaging,
        metrics=metrics,
        settings=Settings.load(payment_wait_seconds=WAIT_SECONDS),
        provider_url="",
    )
    waiting = Waiting(messaging.ports.clock)
    payments = OrderPayments(
        messaging.ports,
        process=PROCESS,
        handler=OrderHandler(PROCESS, metrics, CHECKOUT.orders.makers),
        contract=CHECKOUT.orders.contract,
        waiting=waiting,
    )
    paid = RequestPayments(shop, payments, waiting)
    flush = OrderFlush(
        messaging.ports,
        process=PROCESS,
        deadline=timedelta(minutes=15),
        counters=metrics,
        begin=paid.begin,
    )
    intake = OrderIntake(flush, messaging.ports)
    messaging.add(intake.loop)
    messaging.start()
    assert isinstance(payments.calls, Deliverer)
    try:
        yield paid.waited_for(intake), payments.calls.breaker
    finally:
        await messaging.stop()
        await paid.close()


async def test_whose_payment_is_turned_away_does_not_wait(fresh: Callable[[str], str]) -> None:
    """Half open with its probes on their way, no call is made at this order's turn: 202 now."""
    policy = BreakerPolicy()
    async with paying_orders(fresh("order")) as (paying, breaker):
        opened = time.monotonic() - policy.open_seconds
        for _ in range(policy.calls_min):
            permit = breaker.permit(opened)
            assert permit is not None
            breaker.record(permit, opened, failed=True, seconds=0.1)
        probes = [breaker.permit(time.monotonic()) for _ in range(policy.half_open_calls)]
        assert None not in probes
        assert breaker.state(time.monotonic()) is BreakerState.HALF_OPEN
        async with asyncio.timeout(WAIT_SECONDS / 2):
            placed = await paying.place(request("turned-away"))
        assert isinstance(placed, Placed)
        assert placed.status == 202
        assert breaker.calls["not_permitted"]
