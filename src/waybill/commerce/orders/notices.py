"""An order that was placed is told elsewhere by a call, whose outcome the order keeps (seed 000).

The call is a delivery in the order's own database: its outcome and the order's change of status
are one commit. One delivery an order: asked again (protocol M3), it is not owed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from waybill.commerce.contracts import OrderCreated
from waybill.commerce.orders import store
from waybill.messaging.core.message import Message
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.core.ports import Delivery
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from waybill.commerce.contracts import Event
    from waybill.commerce.deliveries import Calls
    from waybill.commerce.orders.deadlines import Called
    from waybill.commerce.orders.handlers import OrderHandler
    from waybill.commerce.orders.ports import OrderStore
    from waybill.messaging.core.ports import Deliveries, Settlement
    from waybill.messaging.core.unit import UnitOfWork

_SEPARATOR: Final = ":"


def key_of(order_id: UUID, kind: str) -> str:
    """Of the one call about an order. It begins with the order's id (see the audit's waiting)."""
    return f"{order_id}{_SEPARATOR}{kind}"


def _order_of(delivery: Delivery) -> UUID:
    return UUID(delivery.key.split(_SEPARATOR)[0])


def called(deliveries: Deliveries, kind: str) -> Called:
    """Which orders have their call, whatever became of it: asked again, they get no other."""

    async def existing(unit: UnitOfWork, order_ids: Sequence[UUID]) -> Collection[UUID]:
        keys = {key_of(each, kind): each for each in order_ids}
        found = await deliveries.existing(unit.transaction, kind, list(keys))
        return {keys[key] for key in found}

    return existing


class NoticeHandler:
    """Owes a call for each new order: the event as it stands in its topic. One statement a batch.

    The event's id goes with it (`causation_id`): the other side knows a repeat by that.
    """

    def __init__(self, *, kind: str, calls: Calls, new_id: Callable[[], UUID]) -> None:
        self._kind = kind
        self._calls = calls
        self._new_id = new_id

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of OrderCreated in this unit."""
        owed: dict[UUID, Delivery] = {}
        for item in received:
            if isinstance(item.event, OrderCreated) and item.event.order_id not in owed:
                owed[item.event.order_id] = self._delivery(item.event.order_id, item.message)
        if owed:
            await self._calls.owe(unit, list(owed.values()))

    def _delivery(self, order_id: UUID, cause: Message) -> Delivery:
        return Delivery(
            id=self._new_id(),
            kind=self._kind,
            key=key_of(order_id, self._kind),
            request=cause.value,
            correlation_id=cause.correlation_id,
            causation_id=cause.id,
            traceparent=cause.traceparent,
        )


class NoticesSettled:
    """Folds what came of the calls into their orders."""

    def __init__(
        self,
        orders: OrderHandler,
        *,
        done: type[Event],
        refused: type[Event],
        store: OrderStore = store,
    ) -> None:
        self._store = store
        self._orders = orders
        self._done = done
        self._refused = refused

    async def lock(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """Orders before deliveries (protocol C3)."""
        await self._store.lock(unit.transaction, {_order_of(each) for each in deliveries})

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Apply outcomes in the unit that records them."""
        facts = [self._fact(unit, delivery, outcome) for delivery, outcome in settled]
        await self._orders.handle(unit, facts)

    def _fact(self, unit: UnitOfWork, delivery: Delivery, outcome: Settlement) -> Received:
        make = self._done if isinstance(outcome, Delivered) else self._refused
        cause = Message(
            id=delivery.causation_id or delivery.id,
            topic="",
            type="",
            key=str(_order_of(delivery)),
            value=b"",
            occurred_at=unit.now,
            correlation_id=delivery.correlation_id,
            traceparent=delivery.traceparent,
        )
        return Received(cause, make(order_id=_order_of(delivery)))
