"""How orders are paid: by the simulator, over HTTP or by a class of the user's; in the request."""

from __future__ import annotations

import os
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.orders.paying import PAYMENT, OrderPayments, PayingIntake
from waybill.commerce.orders.payment_client import PaymentClient
from waybill.commerce.payments.http_provider import HttpProvider
from waybill.commerce.payments.notices import ProviderNotices
from waybill.commerce.payments.outside import ProviderSettings
from waybill.commerce.payments.simulator import SimulatedProvider, SimulatorSettings
from waybill.commerce.payments.webhook_api import webhook_surface
from waybill.commerce.waiting import Waiting
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.delivery import DeliveryPolicy
from waybill.platform.named_provider import made_by
from waybill.platform.sampling import follow_calls
from waybill.platform.settings import reached_at

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.http.surface import Surface
    from waybill.commerce.orders.api import Intake
    from waybill.commerce.orders.handlers import OrderHandler
    from waybill.commerce.payments.provider import PaymentProvider
    from waybill.messaging.core.ports import Database
    from waybill.platform.services import Workshop
    from waybill.platform.settings import Settings

PAYMENT_PORT_OFFSET = 2
CHARGE_WAIT_SECONDS_MAX = 3.0
"""The payment service answers before its caller's time-out, with what it knows by then."""
RETRY_SECONDS = 0.2
"""About the first pause: a request waits for the call that follows a failed one."""


@runtime_checkable
class Closable(Protocol):
    """What is to be closed after its service stopped."""

    async def close(self) -> None:
        """Close it."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Who captures the money; the simulator, if it is that; its webhooks' route, if it has one."""

    port: PaymentProvider
    databases: tuple[Database, ...] = ()
    clients: tuple[Closable, ...] = ()
    simulator: SimulatedProvider | None = None
    webhooks: Surface | None = None


async def provider_of(shop: Workshop, waiting: Waiting) -> Provider:
    """The provider that the environment names, else the simulator with a ledger of its own.

    A webhook that settles a charge tells the requests that wait for it.
    """
    chosen = ProviderSettings.from_environment(
        os.environ, connections_max=shop.settings.batch_size_max
    )
    return await _simulated(shop) if chosen is None else await _outside(shop, chosen, waiting)


async def _outside(shop: Workshop, chosen: ProviderSettings, waiting: Waiting) -> Provider:
    ports = shop.messaging.ports
    provider: PaymentProvider
    if chosen.client is not None:
        provider = HttpProvider(chosen.client, name=chosen.name)
    else:
        provider = await made_by(chosen.factory)
    webhooks = None
    if chosen.webhooks is not None:
        notices = ProviderNotices(
            ports,
            deliveries=shop.messaging.deliveries,
            provider=provider,
            counters=shop.metrics,
            charge_events=shop.blueprint.payments.charge_events,
            tell=waiting.tell,
        )
        webhooks = webhook_surface(notices, chosen.webhooks, now=ports.clock.now)
    clients = (provider,) if isinstance(provider, Closable) else ()
    return Provider(port=provider, clients=clients, webhooks=webhooks)


async def _simulated(shop: Workshop) -> Provider:
    messaging, ports, settings = shop.messaging, shop.messaging.ports, shop.settings
    ledger = await PostgresDatabase.connect(shop.provider_url, messaging.settings.database)
    provider = SimulatedProvider(
        ledger,
        SimulatorSettings(
            success_rate=settings.payment_success_rate,
            force_outcome=settings.payment_force_outcome,
            delay_seconds=settings.payment_delay_seconds,
        ),
        clock=ports.clock,
        observer=ports.observer,
        random=SystemRandom().random,
        new_id=ports.new_id,
    )
    for loop in provider.loops:
        messaging.add(loop)
    return Provider(port=provider, databases=(ledger,), simulator=provider)


def pays_inside(blueprint: Blueprint) -> bool:
    """Whether its orders begin with a call."""
    return blueprint.process.steps[0].called


class RequestPayments:
    """Payment inside the order service's requests: what owes it, who calls, who waits."""

    def __init__(self, shop: Workshop, payments: OrderPayments, waiting: Waiting) -> None:
        settings, messaging = shop.settings, shop.messaging
        self._ports = messaging.ports
        self._waiting = waiting
        self._wait_seconds = settings.payment_wait_seconds
        self._client = PaymentClient(
            ClientSettings(
                url=payment_url(settings),
                token=shop.services_token,
                connections_max=settings.batch_size_max,
            )
        )
        self._calls = messaging.deliver(
            PAYMENT,
            self._client.call,
            payments.settled,
            query=self._client.query,
            lock=payments.lock,
            rejected=payments.rejected,
            policy=DeliveryPolicy(
                concurrency_max=settings.batch_size_max, backoff=Backoff(base_seconds=RETRY_SECONDS)
            ),
        )
        payments.calls = self._calls
        self.begin = payments.begin
        follow_calls(shop.metrics, self._calls, self._ports.clock.monotonic)

    @classmethod
    def of(cls, shop: Workshop, handler: OrderHandler) -> Self:
        """Those of this order service."""
        waiting = Waiting(shop.messaging.ports.clock)
        payments = OrderPayments(
            shop.messaging.ports,
            process=shop.blueprint.process,
            handler=handler,
            contract=shop.blueprint.orders.contract,
            waiting=waiting,
        )
        return cls(shop, payments, waiting)

    def waited_for(self, intake: Intake) -> PayingIntake:
        """The intake, with answers that wait for the payment."""
        return PayingIntake(
            intake,
            self._ports,
            waiting=self._waiting,
            wait_seconds=self._wait_seconds,
            rejects=self._rejects,
        )

    def _rejects(self) -> bool:
        return self._calls.breaker.wait_seconds(self._ports.clock.monotonic()) > 0

    async def close(self) -> None:
        """Close the connections to the payment service."""
        await self._client.close()


def payment_url(settings: Settings) -> str:
    """Where the payment service is: by default beside us."""
    if settings.payment_url:
        return settings.payment_url
    port = settings.port_base + PAYMENT_PORT_OFFSET
    return f"http://{reached_at(settings.host)}:{port}"
