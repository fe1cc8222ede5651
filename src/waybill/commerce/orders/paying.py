"""Payment inside the request: the order and the call that pays for it are one commit (protocol M9).

The deliverer calls at once, behind its breaker, and again until it knows (a crash, a time-out, a
payment service that is away); the request waits for the outcome as long as it may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.charging import Charge
from waybill.commerce.contracts import PaymentFailed, PaymentSucceeded, Reason
from waybill.commerce.http.problem import Problem
from waybill.commerce.http.surface import encoded
from waybill.commerce.http.trace import trace_id_of
from waybill.commerce.orders import answers, store
from waybill.commerce.orders.answers import Answer
from waybill.commerce.orders.representation import view_as_placed
from waybill.commerce.orders.request import Placed
from waybill.messaging.core.outcome import Delivered
from waybill.messaging.core.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.contracts import Event
    from waybill.commerce.deliveries import Calls
    from waybill.commerce.orders.api import Intake
    from waybill.commerce.orders.contract import OrderContract
    from waybill.commerce.orders.domain import Order
    from waybill.commerce.orders.handlers import OrderHandler, Stop
    from waybill.commerce.orders.request import Outcome, PlaceOrder
    from waybill.commerce.process import Process
    from waybill.commerce.waiting import Waiting
    from waybill.messaging.core.ports import Deliveries, Settlement
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.ports import ServicePorts

PAYMENT = "payment"
"""Kind of the deliveries; the key is the order's id."""

_REASONS = {
    "cancelled": Reason.CUSTOMER_CANCELLED,
    "customer_cancelled": Reason.CUSTOMER_CANCELLED,
    "deadline": Reason.DEADLINE,
}
"""Reasons of a refusal but for the usual one: the payment was refused."""

_encode = msgspec.json.Encoder(decimal_format="number").encode
charge_of = msgspec.json.Decoder(Charge).decode


def stopping(deliveries: Deliveries) -> Stop:
    """Has a cancelled order's payment refused before its next call (protocol M2)."""

    async def stop(unit: UnitOfWork, order_ids: Sequence[UUID]) -> None:
        await deliveries.cancel(unit.transaction, PAYMENT, [str(each) for each in order_ids])

    return stop


class OrderPayments:
    """Owes payments with their orders, folds what they come to, and tells who waits.

    `calls` is to be set before the first order: the deliverer settles here.
    """

    calls: Calls

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        handler: OrderHandler,
        contract: OrderContract,
        waiting: Waiting,
    ) -> None:
        self._ports = ports
        self._process = process
        self._handler = handler
        self._contract = contract
        self._waiting = waiting
        self._locked: tuple[UnitOfWork, Mapping[UUID, Order]] | None = None

    async def begin(self, unit: UnitOfWork, placed: Sequence[tuple[Order, str]]) -> None:
        """Owe the payment of new orders, in their transaction."""
        for order, _ in placed:
            self._waiting.expect(str(order.id))
        await self.calls.owe(unit, [self._delivery(*each) for each in placed])

    def _delivery(self, order: Order, traceparent: str) -> Delivery:
        return Delivery(
            id=self._ports.new_id(),
            kind=PAYMENT,
            key=str(order.id),
            request=_encode(Charge(order.id, order.total_amount, order.currency)),
            not_after=order.not_after,
            correlation_id=order.correlation_id or str(order.id),
            traceparent=traceparent,
        )

    async def lock(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """Lock the orders, which come before deliveries (protocol C3)."""
        ids = [UUID(delivery.key) for delivery in deliveries]
        self._locked = (unit, await store.lock(unit.transaction, ids))

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Orders and their answers, in the unit that settles the payments."""
        if self._locked is None or self._locked[0] is not unit:
            raise RuntimeError("settled() needs lock() in the same unit before it")
        orders = self._locked[1]
        # An order that a restore lost is nobody's to answer; its payment is in the audit.
        here = [(each, outcome) for each, outcome in settled if UUID(each.key) in orders]
        traces = {UUID(each.key): each.traceparent for each, _ in here}
        facts = [_fact(each, outcome) for each, outcome in here]
        after = await self._handler.answered(unit, orders, facts, traces)
        decided = [(id_, self._answer(after[id_], trace)) for id_, trace in traces.items()]
        if decided:
            await answers.decide(unit.transaction, decided)
        keys = [each.key for each, _ in here]
        unit.on_commit(lambda: self._waiting.tell(keys))

    def rejected(self, delivery: Delivery) -> None:
        """The breaker let no call through: whoever waits for its end would wait in vain."""
        self._waiting.tell([delivery.key])

    def _answer(self, order: Order, traceparent: str | None) -> Answer:
        progress = order.progress
        if progress.status in self._process.failures:
            if progress.reason == Reason.PAYMENT_REFUSED:
                status, code, usual = 402, "payment_refused", "The payment was refused"
            else:
                status, code, usual = 409, "order_cancelled", "The order was cancelled"
            problem = Problem(status, code, progress.detail or usual, order_id=str(order.id))
            body = problem.body(
                path=self._contract.path,
                trace_id=trace_id_of(traceparent or ""),
                timestamp=order.updated_at.isoformat(timespec="milliseconds"),
            )
            return Answer(status, body)
        status = 201 if progress.status == self._process.confirmed.status else 202
        shown = self._contract.placed(view_as_placed(order), order.particulars)
        return Answer(status, encoded(shown))


def _fact(delivery: Delivery, settlement: Settlement) -> Event:
    asked = charge_of(delivery.request)
    if isinstance(settlement, Delivered):
        return PaymentSucceeded(
            order_id=asked.order_id,
            payment_id=_payment_id(settlement, delivery),
            amount=asked.amount,
        )
    return PaymentFailed(
        order_id=asked.order_id,
        reason=_REASONS.get(settlement.reason, Reason.PAYMENT_REFUSED),
        detail=settlement.detail or None,
        amount=asked.amount,
    )


def _payment_id(settlement: Delivered, delivery: Delivery) -> UUID:
    """What the payment service calls it; an operator's verdict may know no name."""
    try:
        return UUID(settlement.result.decode())
    except ValueError:
        return delivery.id


class PayingIntake:
    """The `Intake` of an order service that pays inside the request.

    Who placed the order waits, and is given the key's answer. A replay meanwhile is told 202 at
    once, and decides nothing: it may come to another process (protocol M9). `rejects` tells that
    surely no call would be made now (breaker open): then nobody waits for one. Whose call is turned
    away at its turn (half open, all permits taken) stops waiting then (`OrderPayments.rejected`).
    """

    def __init__(
        self,
        intake: Intake,
        ports: ServicePorts,
        *,
        waiting: Waiting,
        wait_seconds: float,
        rejects: Callable[[], bool],
    ) -> None:
        self._intake = intake
        self._database = ports.database
        self._waiting = waiting
        self._wait_seconds = wait_seconds
        self._rejects = rejects

    def admit(self) -> None:
        """See Intake."""
        self._intake.admit()

    async def place(self, request: PlaceOrder) -> Outcome:
        """See Intake. Returns when the payment is decided, or has taken too long for an answer."""
        placed = await self._intake.place(request)
        return await self._answered(placed) if isinstance(placed, Placed) else placed

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        """See Intake."""
        placed = await self._intake.placed_before(route, key, request_hash)
        return placed if placed is None else await self._answered(placed)

    async def _answered(self, placed: Placed) -> Placed:
        if placed.order_id is None:
            return placed
        if placed.replayed:
            answer = await answers.so_far(self._database, placed.order_id)
        else:
            if not self._rejects():
                await self._waiting.until_told(str(placed.order_id), self._wait_seconds)
            answer = await answers.answer_of(self._database, placed.order_id)
        return Placed(answer.body, placed.replayed, placed.order_id, answer.status)
