"""What each service is made of, in every blueprint: its handlers, outside calls and routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from waybill.commerce.http.surface import joined
from waybill.commerce.inventory import handlers as inventory_handlers
from waybill.commerce.inventory.catalogue import Catalogue
from waybill.commerce.notifications import api as notification_api
from waybill.commerce.notifications import handlers as notification_handlers
from waybill.commerce.notifications.contacts import Contacts, named_address
from waybill.commerce.notifications.contacts_api import contacts_surface
from waybill.commerce.notifications.notify_api import ReceivedNotices, notify_surface
from waybill.commerce.notifications.store import NotificationPages
from waybill.commerce.orchestrator import api as orchestrator_api
from waybill.commerce.orchestrator.api import SagaPages
from waybill.commerce.orchestrator.handlers import OrchestratorHandler, SagaDeadlines
from waybill.commerce.orders import api as order_api
from waybill.commerce.orders import handlers as order_handlers
from waybill.commerce.orders.cancellation import Cancellation
from waybill.commerce.orders.deadlines import Deadlines, nobody_is_called
from waybill.commerce.orders.domain import naming_customers
from waybill.commerce.orders.intake import OrderFlush, OrderIntake
from waybill.commerce.orders.paying import stopping
from waybill.commerce.orders.prices import PricedFlush
from waybill.commerce.orders.reads import OrderPages
from waybill.commerce.orders.stocked_intake import StockedFlush
from waybill.commerce.payments import api as payment_api
from waybill.commerce.payments import handlers as payment_handlers
from waybill.commerce.payments.charge_api import charge_surface
from waybill.commerce.payments.desk import ChargeDesk
from waybill.commerce.payments.domain import CHARGE, REFUND
from waybill.commerce.payments.provider import ChargeCalls, RefundCalls
from waybill.commerce.payments.store import PaymentPages
from waybill.commerce.waiting import Waiting
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.brake import Brake, Measure
from waybill.messaging.runtime.capacity import Capacity
from waybill.messaging.runtime.delivery import DeliveryPolicy
from waybill.messaging.runtime.group_commit import GroupCommitPolicy
from waybill.platform.caches import NO_CACHES, Caches
from waybill.platform.notifying import NoticesOut, ShopTaker, notices_out, own_products
from waybill.platform.outside import NOTHING_OUTSIDE, Outside
from waybill.platform.paying import (
    CHARGE_WAIT_SECONDS_MAX,
    RequestPayments,
    pays_inside,
    provider_of,
)
from waybill.platform.sampling import follow_calls
from waybill.platform.settings import reached_at, variable_of
from waybill.platform.stores import POSTGRES, Stores

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from waybill.blueprints.definition import Blueprint, Service
    from waybill.commerce.http.surface import Surface
    from waybill.commerce.notifications.api import NotificationReads
    from waybill.commerce.notifications.contacts_api import ContactBook
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.payments.simulator import SimulatedProvider
    from waybill.messaging.core.ports import Database
    from waybill.messaging.runtime.deliverer import Deliverer
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.unit import Handler
    from waybill.messaging.service import MessagingService
    from waybill.platform.metrics import ServiceMetrics
    from waybill.platform.settings import Settings

DEADLINE_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a service is built with. `provider_url` is for the payment simulator's own ledger."""

    blueprint: Blueprint
    messaging: MessagingService
    metrics: ServiceMetrics
    settings: Settings
    stores: Stores = POSTGRES
    provider_url: str
    outside: Outside = NOTHING_OUTSIDE
    caches: Caches = NO_CACHES
    services_token: str = field(default="", repr=False)
    """Shown to our other services, where they ask for one."""

    @property
    def wiring(self) -> Service:
        """What the blueprint has this service read and write."""
        return self.blueprint.services[self.messaging.name]

    @property
    def makers(self) -> Makers:
        """How the order service makes its events; endings name their customer if mail goes out."""
        makers = self.blueprint.orders.makers
        return naming_customers(makers) if self.outside.smtp is not None else makers

    def consume(self, handle: Handler) -> None:
        """Have the service act on what the blueprint says, by this handler."""
        wiring = self.wiring
        remembering = self.caches.remembering(wiring.name, handle)
        self.messaging.consume(wiring.name, wiring.events, remembering, patient=wiring.patient)


class Closes(Protocol):
    """A client of somebody outside."""

    async def close(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A service ready to start: its routes, and what is to be closed after it stopped."""

    surface: Surface
    databases: tuple[Database, ...] = ()
    clients: tuple[Closes, ...] = ()
    provider: SimulatedProvider | None = None


async def build_order(shop: Workshop) -> Built:
    """Orders: intake, facts, cancel, deadline."""
    messaging, ports, settings = shop.messaging, shop.messaging.ports, shop.settings
    contract, own = shop.blueprint.orders.contract, shop.blueprint.orders.stock
    process = shop.blueprint.order_process
    products = await own_products(own, ports, shop.stores) if own is not None else None
    store, inside = shop.stores.orders, pays_inside(shop.blueprint)
    handler = order_handlers.OrderHandler(
        *(process, shop.metrics, shop.makers, store),
        stop=stopping(messaging.deliveries) if inside else None,
    )
    payments = RequestPayments.of(shop, handler) if inside else None
    flush = _flush(shop, payments)
    policy = GroupCommitPolicy(queue_max=settings.intake_queue_size_max)
    brake = Brake("intake brake", [_unread(messaging, settings)], ports=ports)
    messaging.add(brake)
    intake = OrderIntake(
        flush, ports, policy=policy, brake=brake.check, capacity=_capacity(ports, settings)
    )
    shop.metrics.follow("intake_queue_length", lambda: float(intake.queued))
    messaging.add(intake.loop)
    notifier = notices_of(shop, handler)
    shop.consume(handler.handle if notifier is None else notifier.handle)
    called = nobody_is_called if notifier is None else notifier.called
    deadlines = Deadlines(ports, process=process, makers=shop.makers, store=store, called=called)
    messaging.every(DEADLINE_POLL_SECONDS, "order deadlines", deadlines.ask)
    surface = order_api.surface(
        # What a key is answered with is decided after its order: then only the row knows it.
        intake=shop.caches.intake(intake) if payments is None else payments.waited_for(intake),
        reads=OrderPages(ports.database, process, contract.show, contract.show_way, store),
        cancellations=Cancellation(ports, handler, contract.show),
        contract=contract,
    )
    if own is not None and products is not None:
        surface = joined(surface, own.surface(shop.caches.products(products)))
    return Built(surface=surface, clients=tuple(each for each in (notifier, payments) if each))


def _flush(shop: Workshop, payments: RequestPayments | None) -> OrderFlush:
    orders = shop.blueprint.orders
    parts: dict[str, Any] = {
        "process": shop.blueprint.order_process,
        "makers": shop.makers,
        "placed": orders.contract.placed,
        "deadline": timedelta(seconds=shop.settings.order_deadline_seconds),
        "counters": shop.metrics,
        "store": shop.stores.orders,
    }
    if orders.stock is None:
        begin = payments.begin if payments is not None else None
        flush = PricedFlush if _holds_prices(shop) else OrderFlush
        return flush(shop.messaging.ports, begin=begin, **parts)
    _holds_prices(shop)
    return StockedFlush(shop.messaging.ports, stock=ShopTaker(orders.stock, shop.stores), **parts)


def _holds_prices(shop: Workshop) -> bool:
    """Whether orders are held to the price list. Raises ConfigurationError where there is none."""
    if shop.settings.prices == "client":
        return False
    setting = f"{variable_of('prices')}={shop.settings.prices}"
    if shop.blueprint.orders.stock is not None:
        raise ConfigurationError(
            f"{setting}: orders of {shop.blueprint.name} have no prices: unset it, or choose "
            f"another blueprint with {variable_of('blueprint')}"
        )
    if shop.stores is not POSTGRES:
        raise ConfigurationError(f"{setting} needs PostgreSQL: unset it, or move the orders there")
    return True


def _capacity(ports: ServicePorts, settings: Settings) -> Callable[[], None]:
    if settings.intake_orders_per_second_max is None:
        return lambda: None
    capacity = Capacity(
        settings.intake_orders_per_second_max,
        setting=variable_of("intake_orders_per_second_max"),
        clock=ports.clock,
        random=ports.random,
    )
    return capacity.admit


def _unread(messaging: MessagingService, settings: Settings) -> Measure:
    limit = settings.intake_unread_rows_max

    async def read() -> float:
        database = messaging.ports.database
        return await messaging.storage.unread_rows(database, count_max=limit + 1)

    return Measure(
        what="outbox rows that no service has read",
        setting=variable_of("intake_unread_rows_max"),
        limit=limit,
        read=read,
    )


async def build_inventory(shop: Workshop) -> Built:
    """Stock: reserve, release, sell; the catalogue."""
    ports = shop.messaging.ports
    stock, store = shop.blueprint.stock, shop.stores.stock
    handler = inventory_handlers.InventoryHandler(
        *(shop.metrics, stock.reject, stock.wants, store),
        acceptance=stock.accept,
        sells_at_once=stock.sells_at_once,
    )
    shop.consume(handler.handle)
    catalogue = shop.caches.products(Catalogue(ports.database, ports.clock.now, store))
    return Built(surface=shop.blueprint.stock.surface(catalogue, ports.new_id))


async def build_payment(shop: Workshop) -> Built:
    """Charges and refunds as deliveries to a payment provider."""
    messaging, ports, settings = shop.messaging, shop.messaging.ports, shop.settings
    waiting = Waiting(ports.clock)
    provider = await provider_of(shop, waiting)
    charge_events = shop.blueprint.payments.charge_events.by(provider.port.name)
    settled = payment_handlers.ChargesSettled(shop.metrics, charge_events, tell=waiting.tell)
    handler = payment_handlers.PaymentHandler(
        charges=_deliver(shop, CHARGE, ChargeCalls(provider.port), settled),
        refunds=_deliver(
            shop, REFUND, RefundCalls(provider.port), payment_handlers.RefundsSettled()
        ),
        deliveries=messaging.deliveries,
        new_id=ports.new_id,
        asked_by=shop.blueprint.payments.charges,
        charge_events=charge_events,
    )
    shop.consume(handler.handle)
    surfaces = [payment_api.surface(reads=PaymentPages(ports.database))]
    if pays_inside(shop.blueprint):
        wait_seconds = min(settings.payment_wait_seconds, CHARGE_WAIT_SECONDS_MAX)
        desk = ChargeDesk(ports, handler=handler, waiting=waiting, wait_seconds=wait_seconds)
        surfaces.append(charge_surface(desk))
    if provider.webhooks is not None:
        surfaces.append(provider.webhooks)
    return Built(
        surface=joined(*surfaces),
        databases=provider.databases,
        clients=provider.clients,
        provider=provider.simulator,
    )


def _deliver(
    shop: Workshop,
    kind: str,
    calls: ChargeCalls | RefundCalls,
    effects: payment_handlers.ChargesSettled | payment_handlers.RefundsSettled,
) -> Deliverer:
    """Who makes these calls to the provider, and applies what they come to."""
    deliverer = shop.messaging.deliver(
        kind,
        calls.call,
        effects.settled,
        query=calls.query,
        lock=effects.lock,
        policy=DeliveryPolicy(concurrency_max=shop.settings.batch_size_max),
    )
    follow_calls(shop.metrics, deliverer, shop.messaging.ports.clock.monotonic)
    return deliverer


async def build_notification(shop: Workshop) -> Built:
    """Mails as deliveries, and whom they go to; or the receiving end of the orders' notices."""
    messaging, ports = shop.messaging, shop.messaging.ports
    if shop.blueprint.orders.notices is not None:
        return Built(surface=notify_surface(ReceivedNotices(ports)))
    contacts = Contacts(ports.database, ports.clock.now)
    addresses = named_address if shop.blueprint.known_by_address else contacts.address
    mailer = shop.outside.mailer(addresses, ports.clock.now)
    calls = notification_handlers.EmailCalls(mailer)
    emails = messaging.deliver(
        notification_handlers.EMAIL,
        calls.call,
        calls.settled,
        policy=DeliveryPolicy(
            concurrency_max=shop.outside.mails_at_once(shop.settings.batch_size_max)
        ),
    )
    follow_calls(shop.metrics, emails, ports.clock.monotonic)
    handler = notification_handlers.NotificationHandler(
        emails=emails, new_id=ports.new_id, tell=shop.blueprint.tell
    )
    shop.consume(handler.handle)
    kinds = [event.__name__ for event in shop.blueprint.service("notification").events]
    reads = NotificationPages(ports.database, kinds, shop.stores.notifications_of_order)
    return Built(surface=_notification_surface(shop.blueprint, reads, contacts))


def _notification_surface(
    blueprint: Blueprint, reads: NotificationReads, contacts: ContactBook
) -> Surface:
    surface = notification_api.surface(reads=reads)
    if blueprint.known_by_address:  # nobody would ask for a contact
        return surface
    return joined(surface, contacts_surface(contacts))


async def build_orchestrator(shop: Workshop) -> Built:
    """Sagas: facts, deadline, and who is told how each order ended."""
    messaging, ports, blueprint = shop.messaging, shop.messaging.ports, shop.blueprint
    handler = OrchestratorHandler(blueprint.process, blueprint.orchestration)
    shop.consume(handler.handle)
    deadlines = SagaDeadlines(
        ports, process=blueprint.process, orchestration=blueprint.orchestration
    )
    messaging.every(DEADLINE_POLL_SECONDS, "order deadlines", deadlines.ask)
    reads = SagaPages(ports.database)
    return Built(surface=orchestrator_api.surface(reads=reads, id_prefix=blueprint.order_prefix))


def notices_of(shop: Workshop, handler: order_handlers.OrderHandler) -> NoticesOut | None:
    """The calls of the order service to the notification service, where there are any."""
    notices, settings = shop.blueprint.orders.notices, shop.settings
    if notices is None:
        return None
    port = settings.port_base + PLANS["notification"].port_offset
    ours = f"http://{reached_at(settings.host)}:{port}"
    return notices_out(
        shop.messaging,
        shop.metrics,
        settings,
        notices=notices,
        orders=handler,
        stores=shop.stores,
        ours=ours,
    )


_NOTHING: Any = None


def _order_routes(blueprint: Blueprint) -> Surface:
    surface = order_api.surface(
        intake=_NOTHING,
        reads=_NOTHING,
        cancellations=_NOTHING,
        contract=blueprint.orders.contract,
    )
    stock = blueprint.orders.stock
    return surface if stock is None else joined(surface, stock.surface(_NOTHING))


def _payment_routes(blueprint: Blueprint) -> Surface:
    also = [charge_surface(_NOTHING)] if pays_inside(blueprint) else []
    return joined(payment_api.surface(reads=_NOTHING), *also)


def _inventory_routes(blueprint: Blueprint) -> Surface:
    return blueprint.stock.surface(_NOTHING, _NOTHING)


def _notification_routes(blueprint: Blueprint) -> Surface:
    if blueprint.orders.notices is not None:
        return notify_surface(_NOTHING)
    return _notification_surface(blueprint, _NOTHING, _NOTHING)


def _orchestrator_routes(blueprint: Blueprint) -> Surface:
    return orchestrator_api.surface(reads=_NOTHING, id_prefix=blueprint.order_prefix)


@dataclass(frozen=True)
class ServicePlan:
    """A service: its documented name, its port above the base, whose outboxes it reads."""

    name: str
    port_offset: int
    build: Callable[[Workshop], Awaitable[Built]]
    surface: Callable[[Blueprint], Surface]
    """Its routes alone, for their documentation: nothing stands behind them."""
    processes: str = "orders"
    """Its table of processes, if it hosts them."""


PLANS = {
    "order": ServicePlan("order-service", 1, build_order, _order_routes),
    "payment": ServicePlan("payment-service", 2, build_payment, _payment_routes),
    "inventory": ServicePlan("inventory-service", 3, build_inventory, _inventory_routes),
    "notification": ServicePlan(
        "notification-service", 4, build_notification, _notification_routes
    ),
    "orchestrator": ServicePlan(
        "orchestrator", 5, build_orchestrator, _orchestrator_routes, "sagas"
    ),
}
"""Every service that a blueprint may have, by its name on the command line."""


def plans_of(blueprint: Blueprint) -> dict[str, ServicePlan]:
    """The services of this blueprint."""
    return {name: plan for name, plan in PLANS.items() if plan.name in blueprint.services}
