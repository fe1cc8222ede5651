"""The blueprint `notify` (seed 000): stock in the order's transaction, then POST /notify.

An order is PLACED with its stock, and NOTIFIED once the other side has answered. A notification
that fails is tried again for as long as it takes; an operator may give it up, and the order is
FAILED then, its stock still its own: nobody was told of it, but it was placed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.blueprints import notify_http, workload
from waybill.blueprints.definition import Blueprint, Notices, Orders, Service, ShopStock
from waybill.blueprints.notify_http import FAILED, NOTIFIED, PLACED
from waybill.blueprints.notify_wire import TOPIC, NotifyCodec, read_foreign
from waybill.commerce.contracts import Event, OrderCreated
from waybill.commerce.inventory.number_api import numbered_surface
from waybill.commerce.numbers import id_of
from waybill.commerce.process import Ending, Process, Step

if TYPE_CHECKING:
    from waybill.commerce.notifications.domain import Notification


class NotifySucceeded(Event, frozen=True, kw_only=True):
    """The other side has the notification (NOTIFY_SUCCESS)."""


class NotifyRefused(Event, frozen=True, kw_only=True):
    """An operator gave the notification up."""


PROCESS = Process(
    name="notify",
    steps=(
        Step(
            name="notify",
            ask="OrderCreated",
            done="NotifySucceeded",
            refused="NotifyRefused",
            refusal="not_notified",
            # Nothing is held elsewhere, so there is nothing to take back.
            outside_effect=False,
        ),
    ),
    initial=PLACED,
    confirmed=Ending(NOTIFIED),
    failed=Ending(FAILED),
    cancellable=False,
    lifecycle={
        PLACED: frozenset((NOTIFIED, FAILED)),
        NOTIFIED: frozenset(),
        FAILED: frozenset(),
    },
)

TOPICS: dict[str, tuple[type[Event], ...]] = {TOPIC: (OrderCreated,)}

SERVICES = {
    service.name: service
    for service in (
        # Service A of the document reads its own topic, calls B, and keeps what came of it.
        Service("order-service", (TOPIC,), {TOPIC: (OrderCreated,)}),
        Service("notification-service", (), {}),
    )
}


def tell(_event: object) -> Notification | None:
    """Customers get no mail: the other side is told."""
    return None


NOTIFY = Blueprint(
    name=PROCESS.name,
    title="stock is taken with the order; then others are notified",
    source="seed 000",
    process=PROCESS,
    topics=TOPICS,
    services=SERVICES,
    codec=NotifyCodec,
    read_foreign=read_foreign,
    orders=Orders(
        contract=notify_http.CONTRACT,
        stock=ShopStock(
            first=(
                (id_of(1), "Phone", 10),
                (id_of(2), "Laptop", 5),
                (id_of(3), "Headphones", 15),
            ),
            refuse=notify_http.refuse,
            surface=numbered_surface,
        ),
        notices=Notices(done=NotifySucceeded, refused=NotifyRefused),
    ),
    workload=workload.SEED_000,
    tell=tell,
)
