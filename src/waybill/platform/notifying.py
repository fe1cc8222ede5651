"""What the order service has besides, where it keeps stock itself and tells others by HTTP.

The stock's own decisions are inventory's, the notices' calls those of notifications.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.inventory.catalogue import Catalogue
from waybill.commerce.inventory.own_orders import OwnStock
from waybill.commerce.notifications.http_notify import (
    NOTIFY,
    POLICY,
    RETRY_SIZE_MAX,
    FailedNotifications,
    HttpNotifier,
    persistent,
)
from waybill.commerce.orders.notices import NoticeHandler, NoticesSettled, called
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.own_databases import secret
from waybill.platform.sampling import follow_calls
from waybill.platform.stores import POSTGRES, Stores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from waybill.blueprints.definition import Notices, ShopStock
    from waybill.commerce.contracts import Event
    from waybill.commerce.notifications.http_notify import Parked, TryAgain
    from waybill.commerce.orders.deadlines import Called
    from waybill.commerce.orders.handlers import OrderHandler
    from waybill.commerce.orders.request import NotTaken
    from waybill.messaging.core.unit import Received, UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.service import MessagingService
    from waybill.platform.metrics import ServiceMetrics
    from waybill.platform.settings import Settings

WHO: Final = "periodic retry"
ANSWER_MARGIN_SECONDS: Final = 1.0
"""The deliverer waits for so much longer than the client: the client's word is the better one."""


class ShopTaker:
    """The `StockTaker` of the order service's intake."""

    def __init__(self, stock: ShopStock, stores: Stores = POSTGRES) -> None:
        self._stock = OwnStock(stores.stock)
        self._refuse = stock.refuse

    async def take(self, unit: UnitOfWork, asks: Sequence[Event]) -> Mapping[UUID, NotTaken]:
        """See StockTaker."""
        lacks = await self._stock.take(unit, asks)
        return {order_id: self._refuse(lack) for order_id, lack in lacks.items()}


async def own_products(
    stock: ShopStock, ports: ServicePorts, stores: Stores = POSTGRES
) -> Catalogue:
    """The products of the order service's own database; the first ones are made once."""
    catalogue = Catalogue(ports.database, ports.clock.now, stores.stock)
    for product_id, name, count in stock.first:
        await catalogue.create(product_id, name, count)
    return catalogue


class NoticesOut:
    """The order service's calls: `handle` owes them, `called` knows whose are owed; `close` it."""

    def __init__(self, notifier: HttpNotifier, handler: NoticeHandler, called: Called) -> None:
        self.called = called
        self._notifier = notifier
        self._handler = handler

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of new orders in this unit."""
        await self._handler.handle(unit, received)

    async def close(self) -> None:
        """Close every connection."""
        await self._notifier.close()


def notices_out(
    messaging: MessagingService,
    metrics: ServiceMetrics,
    settings: Settings,
    *,
    notices: Notices,
    orders: OrderHandler,
    stores: Stores,
    ours: str,
) -> NoticesOut:
    """Make the calls and try failed ones again. `ours` is called unless NOTIFY_URL is set."""
    timeout = settings.notify_timeout_seconds
    notifier = HttpNotifier(
        ClientSettings(
            url=settings.notify_url or ours,
            token=_token(),
            connect_seconds=min(1.0, timeout),
            timeout_seconds=timeout,
        )
    )
    folded = NoticesSettled(orders, done=notices.done, refused=notices.refused, store=stores.orders)
    calls = messaging.deliver(
        NOTIFY,
        persistent(notifier.call),
        folded.settled,
        lock=folded.lock,
        policy=replace(POLICY, timeout_seconds=timeout + ANSWER_MARGIN_SECONDS),
    )
    ports = messaging.ports
    follow_calls(metrics, calls, ports.clock.monotonic)
    failed = FailedNotifications(*_parked_and_again(messaging))
    messaging.every(settings.notify_retry_interval_seconds, WHO, failed.retry_all)
    handler = NoticeHandler(kind=NOTIFY, calls=calls, new_id=ports.new_id)
    return NoticesOut(notifier, handler, called(messaging.deliveries, NOTIFY))


def _token() -> str:
    """NOTIFY_TOKEN or NOTIFY_TOKEN_FILE. Raises ConfigurationError for one that cannot be sent."""
    mistakes: list[str] = []
    given = {name: text for name, text in os.environ.items() if text.strip()}
    token = secret(given, "NOTIFY_TOKEN", mistakes)
    if mistakes:
        raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
    return token or ""


def _parked_and_again(messaging: MessagingService) -> tuple[Parked, TryAgain]:
    database, verdicts = messaging.ports.database, messaging.storage.verdicts

    async def parked() -> Sequence[UUID]:
        rows = await verdicts.list_parked_deliveries(database, kind=NOTIFY, limit=RETRY_SIZE_MAX)
        return [row.id for row in rows]

    async def again(ids: Sequence[UUID]) -> object:
        why = "failed notifications are tried again"
        return await verdicts.judge_parked_deliveries(database, ids, None, who=WHO, why=why)

    return parked, again
