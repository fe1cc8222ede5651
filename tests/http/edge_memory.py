"""The services' stores in memory, and an application around them: adapters for the edge's tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import msgspec
from prometheus_client import CollectorRegistry, Counter

from waybill.commerce.http.surface import encoded, joined
from waybill.commerce.inventory import api as inventory_api
from waybill.commerce.inventory.views import ProductView
from waybill.commerce.notifications import api as notifications_api
from waybill.commerce.notifications.contacts_api import contacts_surface
from waybill.commerce.notifications.views import Contact, NotificationView
from waybill.commerce.orders import api as orders_api
from waybill.commerce.orders.api import NotCancellable
from waybill.commerce.orders.request import KeyReused, Placed, PlaceOrder
from waybill.commerce.orders.views import OrderView, TimelineEntry
from waybill.commerce.payments import api as payments_api
from waybill.commerce.payments.views import PaymentView
from waybill.messaging.core.identity import UuidFactory
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Check, Component, Health
from waybill.platform.http.limits import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastapi import FastAPI

    from waybill.edge.tokens.bearer import Verifier

NOON = datetime(2026, 2, 26, 12, 40, 15, 123456, tzinfo=UTC)
MOUSE = UUID("11111111-1111-1111-1111-111111111111")
CUSTOMER = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


class MemoryOrders:
    """Intake, reads and cancellations over one dictionary."""

    def __init__(self) -> None:
        self.orders: dict[UUID, OrderView] = {}
        self.placed: dict[tuple[str, str, str], tuple[str, UUID, bytes]] = {}
        self.requests: list[PlaceOrder] = []
        self.failure: Exception | None = None
        self.refusal: Exception | None = None
        self._new_id = UuidFactory()

    def admit(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def place(self, request: PlaceOrder) -> Placed | KeyReused:
        self._fail()
        identity = (request.scope, request.route, request.key)
        if identity in self.placed:
            fingerprint, order_id, body = self.placed[identity]
            if fingerprint != request.fingerprint:
                return KeyReused(order_id)
            return Placed(body, replayed=True)
        order = OrderView(
            id=self._new_id(),
            customer_id=request.customer_id,
            status="PENDING",
            total_amount=request.total_amount,
            currency=request.currency,
            items=request.items,
            created_at=NOON,
            updated_at=NOON,
        )
        self.orders[order.id] = order
        self.requests.append(request)
        self.placed[identity] = (request.fingerprint, order.id, encoded(order))
        return Placed(encoded(order), replayed=False)

    def confirm(self, order_id: UUID) -> None:
        order = self.orders[order_id]
        self.orders[order_id] = msgspec.structs.replace(order, status="CONFIRMED")

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        self._fail()
        before = self.placed.get(("", route, key))
        if before is None or before[0] != request_hash:
            return None
        return Placed(before[2], replayed=True)

    async def order(self, order_id: UUID, *, owner: UUID | None = None) -> OrderView | None:
        self._fail()
        order = self.orders.get(order_id)
        return order if order is not None and owner in {None, order.customer_id} else None

    async def timeline(
        self, order_id: UUID, *, owner: UUID | None = None
    ) -> Sequence[TimelineEntry] | None:
        order = await self.order(order_id, owner=owner)
        if order is None:
            return None
        return [TimelineEntry(1, "OrderCreated", None, "PENDING", order.created_at)]

    async def cancel(
        self,
        order_id: UUID,
        *,
        traceparent: str,
        correlation_id: str | None = None,
        owner: UUID | None = None,
    ) -> OrderView | NotCancellable | None:
        assert traceparent
        assert correlation_id is None  # seed 003's clients correlate nothing
        order = await self.order(order_id, owner=owner)
        if order is not None and order.status == "CONFIRMED":
            return NotCancellable(order.status)
        return order

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryOrderReads:
    """What GET shows of the memory's orders."""

    def __init__(self, memory: MemoryOrders) -> None:
        self._memory = memory

    async def order(self, order_id: UUID, *, owner: UUID | None = None) -> OrderView | None:
        return await self._memory.order(order_id, owner=owner)

    async def orders(
        self, *, customer_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[OrderView]:
        found = [
            order
            for order in sorted(self._memory.orders.values(), key=lambda o: o.id, reverse=True)
            if customer_id in (None, order.customer_id)
            and status in (None, order.status)
            and (before is None or order.id < before)
        ]
        return found[:limit]

    async def timeline(
        self, order_id: UUID, *, owner: UUID | None = None
    ) -> Sequence[TimelineEntry] | None:
        return await self._memory.timeline(order_id, owner=owner)


class MemoryProducts:
    """A catalogue of one product that grows."""

    def __init__(self) -> None:
        mouse = ProductView(MOUSE, "Wireless Mouse", 100, 0)
        self.by_id: dict[UUID, ProductView] = {MOUSE: mouse}

    async def product(self, product_id: UUID) -> ProductView | None:
        return self.by_id.get(product_id)

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        ids = sorted(id_ for id_ in self.by_id if after is None or id_ > after)
        return [self.by_id[id_] for id_ in ids[:limit]]

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        if product_id in self.by_id:
            return None
        return self.by_id.setdefault(product_id, ProductView(product_id, name, stock, 0))

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        if product_id not in self.by_id:
            return None
        self.by_id[product_id] = ProductView(product_id, name, stock, 0)
        return self.by_id[product_id]


class MemoryPayments:
    """One payment for every order."""

    async def payments(self, order_id: UUID) -> Sequence[PaymentView]:
        return [
            PaymentView(
                id=order_id,
                order_id=order_id,
                amount=None,
                currency=None,
                status="FAILED",
                reason="customer_cancelled",
                detail=None,
                refund_id=None,
                created_at=NOON,
                updated_at=NOON,
            )
        ]


class MemoryNotifications:
    """One notification for every order."""

    async def notifications(self, order_id: UUID) -> Sequence[NotificationView]:
        return [NotificationView(order_id, order_id, "OrderConfirmed", "Thanks", "SENT", NOON)]


class MemoryContacts:
    """Addresses by user."""

    def __init__(self) -> None:
        self.by_user: dict[str, Contact] = {}

    async def contact(self, user_id: str) -> Contact | None:
        return self.by_user.get(user_id)

    async def put(self, user_id: str, email: str) -> Contact:
        self.by_user[user_id] = Contact(user_id, email, NOON)
        return self.by_user[user_id]

    async def erase(self, user_id: str) -> None:
        self.by_user.pop(user_id, None)


@dataclass
class Responses:
    """An observer that keeps what it is told."""

    seen: list[tuple[str, str, int]] = field(default_factory=list)

    def responded(self, method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((method, route, status))


@dataclass
class Edge:
    """One application with everything behind it in reach of the test."""

    application: FastAPI
    orders: MemoryOrders
    products: MemoryProducts
    health: Health
    responses: Responses

    def client(self) -> httpx2.AsyncClient:
        """A client that talks to the application without a socket."""
        transport = httpx2.ASGITransport(app=self.application)
        return httpx2.AsyncClient(transport=transport, base_url="http://orders")


async def _up() -> Component:
    return Component("UP")


def make_edge(
    *,
    limits: HttpLimits | None = None,
    orders: MemoryOrders | None = None,
    checks: dict[str, Check] | None = None,
    verifier: Verifier | None = None,
    admit_write: Callable[[], None] = lambda: None,
) -> Edge:
    """All four services' routes in one application: the tests need no more than one."""
    orders, products = orders or MemoryOrders(), MemoryProducts()
    surfaces = [
        orders_api.surface(intake=orders, reads=MemoryOrderReads(orders), cancellations=orders),
        inventory_api.products_surface(products, UuidFactory()),
        payments_api.surface(reads=MemoryPayments()),
        notifications_api.surface(reads=MemoryNotifications()),
        contacts_surface(MemoryContacts()),
    ]
    registry = CollectorRegistry()
    Counter("orders_created", "Orders created", ["application"], registry=registry).labels(
        "order-service"
    ).inc(3)
    responses = Responses()
    health = Health(checks or {"db": _up})
    parts = HttpParts(
        title="order-service",
        version="0.1.0",
        health=health,
        registry=registry,
        observer=responses,
        now=lambda: NOON,
        info={"app": {"name": "order-service"}},
        limits=limits or HttpLimits(),
        admit_write=admit_write,
        verifier=verifier,
    )
    application = create_application(joined(*surfaces), parts)
    return Edge(application, orders, products, health, responses)


def order_body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """The order of the documents' first example, changed."""
    body: dict[str, Any] = {
        "customerId": CUSTOMER,
        "items": [{"productId": str(MOUSE), "quantity": 2, "unitPrice": 29.99}],
        "currency": "EUR",
    }
    return {**body, **changes}
