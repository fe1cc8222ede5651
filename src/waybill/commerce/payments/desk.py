"""Charges that are asked for over HTTP: owed as every other, and waited for (protocol M9).

An order is charged once, whatever comes again: the books answer whoever asks after the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.payments import store
from waybill.commerce.payments.domain import PaymentStatus, asked_over_http, decide
from waybill.messaging.core.message import Message
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from waybill.commerce.payments.domain import ChargeAsked, Decision, Payment
    from waybill.commerce.payments.handlers import PaymentHandler
    from waybill.commerce.waiting import Waiting
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts


class ChargeDesk:
    """The `Charges` of the payment service's API."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        handler: PaymentHandler,
        waiting: Waiting,
        wait_seconds: float,
    ) -> None:
        self._ports = ports
        self._handler = handler
        self._waiting = waiting
        self._wait_seconds = wait_seconds

    async def charge(self, asked: ChargeAsked, *, traceparent: str) -> Payment:
        """The payment as it stands when its charge is settled, or has taken too long for that."""
        async with self._ports.database.transaction() as transaction:
            unit = self._ports.unit(transaction)
            known = await self._known(unit, asked)
            if known is None:
                decision = self._decide(unit, asked, traceparent)
                self._waiting.expect(str(asked.order_id))
                await self._handler.save(unit, decision)
                known = decision.payments[asked.order_id]
        if known.status is not PaymentStatus.PENDING:
            return known
        await self._waiting.until_told(str(asked.order_id), self._wait_seconds)
        async with self._ports.database.transaction() as transaction:
            found = await self._known(self._ports.unit(transaction), asked)
        return found or known

    async def _known(self, unit: UnitOfWork, asked: ChargeAsked) -> Payment | None:
        found = await store.lock(unit.transaction, [asked.order_id])
        return found.get(asked.order_id)

    def _decide(self, unit: UnitOfWork, asked: ChargeAsked, traceparent: str) -> Decision:
        """As if a message asked; there is none, so none is named as the cause."""
        message = Message(
            id=self._ports.new_id(),
            topic="",
            type=type(asked).__name__,
            key=str(asked.order_id),
            value=b"",
            occurred_at=unit.now,
            correlation_id=str(asked.order_id),
            traceparent=traceparent,
        )
        asking = [Received(message, asked)]
        decision = decide(
            *({}, asking), now=unit.now, new_id=self._ports.new_id, charges=asked_over_http
        )
        replace = msgspec.structs.replace
        return replace(
            decision,
            deliveries=[replace(each, causation_id=None) for each in decision.deliveries],
            tombstones=[
                (replace(each, causation_id=None), outcome) for each, outcome in decision.tombstones
            ],
            publications=[
                replace(each, cause=None, traceparent=traceparent) for each in decision.publications
            ],
        )
