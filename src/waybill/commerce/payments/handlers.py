"""Payment's consumer, and what becomes of its outside calls: charges and refunds (P6).

A payment is its charge's delivery, written before anything is called, and locked before its
refund's, here and where a call settles (protocol C3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import (
    Event,
    OrderCancelled,
    PaymentSucceeded,
    RefundRequested,
    StockReserved,
)
from waybill.commerce.payments import domain, store
from waybill.commerce.payments.domain import (
    CHARGE,
    REFUND,
    ChargeRequest,
    Payment,
    charge_settled,
    decide,
    refund_settled,
)
from waybill.commerce.publication import Publication
from waybill.commerce.publishing import count, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.deliveries import Calls
    from waybill.commerce.payments.domain import ChargeEvents, Charges, Decision
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.ports import Deliveries, Delivery, Settlement
    from waybill.messaging.core.unit import Received, UnitOfWork

CONSUMER = "payment-service"
ASKS: tuple[type[Event], ...] = (StockReserved, OrderCancelled, RefundRequested)
"""The events that the payment service acts on."""

AGGREGATE = "Payment"

_charge_of = msgspec.json.Decoder(ChargeRequest).decode
_Answer = tuple[Payment, Publication] | None


class PaymentHandler:
    """Owes charges and refunds, each once an order. Statements a batch are a constant."""

    def __init__(
        self,
        *,
        charges: Calls,
        refunds: Calls,
        deliveries: Deliveries,
        new_id: Callable[[], UUID],
        asked_by: Charges = domain.charges,
        charge_events: ChargeEvents = domain.CHARGE_EVENTS,
    ) -> None:
        self._asked_by = asked_by
        self._charge_events = charge_events
        self._charges = charges
        self._refunds = refunds
        self._deliveries = deliveries
        self._new_id = new_id

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None:
        """Apply a batch of ASKS in this unit."""
        ids = {item.event.order_id for item in received if isinstance(item.event, Event)}
        payments = await store.lock(unit.transaction, ids)
        decision = decide(
            payments,
            received,
            now=unit.now,
            new_id=self._new_id,
            charges=self._asked_by,
            charge_events=self._charge_events,
        )
        await self.save(unit, decision)

    async def save(self, unit: UnitOfWork, decision: Decision) -> None:
        """Write what was decided, with its calls and events, in this unit."""
        await self._owe(unit, decision)
        await store.tell(unit.transaction, decision.payments.values())
        publish(unit, decision.publications, aggregate_type=AGGREGATE)

    async def _owe(self, unit: UnitOfWork, decision: Decision) -> None:
        if decision.tombstones:
            buried = [delivery for delivery, _ in decision.tombstones]
            await self._deliveries.add(
                unit.transaction, buried, lease_token=None, lease_seconds=0.0
            )
            await self._deliveries.settle(unit.transaction, decision.tombstones)
        charges = [each for each in decision.deliveries if each.kind == CHARGE]
        refunds = [each for each in decision.deliveries if each.kind == REFUND]
        if charges:
            await self._charges.owe(unit, charges)
        if refunds:
            await self._refunds.owe(unit, refunds)
        if decision.cancels:
            keys = [str(order_id) for order_id in decision.cancels]
            await self._deliveries.cancel(unit.transaction, CHARGE, keys)


class _Settled:
    """What both kinds of calls do."""

    def __init__(self) -> None:
        self._locked: tuple[UnitOfWork, Mapping[UUID, Payment]] | None = None

    async def lock(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """Lock the orders' payments, whichever call of theirs settles (protocol C3)."""
        ids = [UUID(delivery.key) for delivery in deliveries]
        self._locked = (unit, await store.lock(unit.transaction, ids))

    def _payments(self, unit: UnitOfWork) -> Mapping[UUID, Payment]:
        """What `lock` read in this unit: the rows are ours since then."""
        if self._locked is None or self._locked[0] is not unit:
            raise RuntimeError("settled() needs lock() in the same unit before it")
        return self._locked[1]


class ChargesSettled(_Settled):
    """What the provider answered to charges: books and events in the unit that settles them.

    `tell` is called after the commit, with the ids of their orders.
    """

    def __init__(
        self,
        counters: Counters,
        charge_events: ChargeEvents = domain.CHARGE_EVENTS,
        *,
        tell: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._counters = counters
        self._charge_events = charge_events

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Record the outcomes of charges that were open until now."""
        told = await _settle(unit, self._payments(unit), settled, self._answer)
        good = sum(isinstance(publication.event, PaymentSucceeded) for publication in told)
        name = "payments_processed_total"
        count(unit, self._counters, name, good, outcome="success")
        count(unit, self._counters, name, len(told) - good, outcome="failure")
        keys = [delivery.key for delivery, _ in settled]
        unit.on_commit(lambda: self._tell(keys))

    def _answer(self, payment: Payment, delivery: Delivery, settlement: Settlement) -> _Answer:
        request = delivery.request
        return charge_settled(payment, settlement, self._charge_events, lambda: _charge_of(request))


class RefundsSettled(_Settled):
    """What the provider answered to refunds."""

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Record the outcomes of refunds that were open until now."""
        await _settle(unit, self._payments(unit), settled, _refund_answer)


def _refund_answer(payment: Payment, _delivery: Delivery, settlement: Settlement) -> _Answer:
    return refund_settled(payment, settlement)


async def _settle(
    unit: UnitOfWork,
    payments: Mapping[UUID, Payment],
    settled: Sequence[tuple[Delivery, Settlement]],
    answer: Callable[[Payment, Delivery, Settlement], _Answer],
) -> list[Publication]:
    ids = [UUID(delivery.key) for delivery, _ in settled]
    changed: list[Payment] = []
    told: list[Publication] = []
    for order_id, (delivery, settlement) in zip(ids, settled, strict=True):
        decided = answer(payments[order_id], delivery, settlement)
        if decided is None:
            continue
        payment, publication = decided
        changed.append(payment)
        told.append(publication)
        unit.publish(
            publication.event,
            key=publication.key,
            correlation_id=delivery.correlation_id,
            causation_id=delivery.causation_id,
            traceparent=delivery.traceparent,
            aggregate_type=AGGREGATE,
            aggregate_version=publication.aggregate_version,
        )
    await store.tell(unit.transaction, changed)
    return told
