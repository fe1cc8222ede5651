"""An order that is paid by a call of its own (protocol M9), as the walk sees it.

The call is a message to the payment actor that may be lost, come late or be made by somebody whose
lease is over; what payment tells is the call's answer as well as its event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from waybill.commerce.checker.actors import OrderActor
from waybill.commerce.checker.model import Kind, Move, Result
from waybill.commerce.checker.one_order import ORDER_ID
from waybill.commerce.contracts import PaymentFailed, Reason
from waybill.commerce.payments.domain import ChargeAsked
from waybill.commerce.process import CANCEL_REQUESTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waybill.commerce.contracts import Event
    from waybill.commerce.orders import domain as orders
    from waybill.commerce.process import Process, Progress


class PayingState(NamedTuple):
    """The order, and the call that is owed with it: "owed", "made" or "over"."""

    order: orders.Order
    call: str = "owed"
    unknowns: int = 1
    strays: int = 1

    @property
    def progress(self) -> Progress:
        """The order's."""
        return self.order.progress


class PayingOrderActor:
    """Places one order with its call, refuses the call when it is too late, and asks again."""

    name = "order"

    def __init__(
        self,
        process: Process,
        *,
        makers: orders.Makers | None = None,
        unknowns: int = 1,
        strays: int = 1,
    ) -> None:
        self._orders = OrderActor(process, makers=makers)
        self._unknowns, self._strays = unknowns, strays

    def start(self) -> Result:
        """The order is placed, and its payment owed."""
        placed = self._orders.start()
        order: Any = placed.state
        first = PayingState(order, unknowns=self._unknowns, strays=self._strays)
        return Result(first, placed.events)

    def reads(self, event: Event) -> bool:
        """Every fact of its process."""
        return self._orders.reads(event)

    def receive(self, state: PayingState, event: Event, *, late: bool) -> Result:
        """Fold a fact."""
        return _with(state, self._orders.receive(state.order, event, late=late))

    def moves(self, state: PayingState, *, late: bool) -> Iterable[Move]:
        """What an order may do, and what its deliverer may do next."""
        for label, kind, result in self._orders.moves(state.order, late=late):
            yield Move(label, kind, _with(state, result))
        if state.call == "owed":
            yield from self._owed(state, late=late)
        elif state.call == "made" and not _is_answered(state.progress):
            label = "payment is asked again"
            yield Move(label, Kind.WHEN_QUIET, Result(state, (_ask(state.order),)))

    def _owed(self, state: PayingState, *, late: bool) -> Iterable[Move]:
        cancelled = CANCEL_REQUESTED in state.progress.facts
        if cancelled or late:
            reason = Reason.CUSTOMER_CANCELLED if cancelled else Reason.DEADLINE
            refused = PaymentFailed(order_id=ORDER_ID, reason=reason)
            after = self._orders.receive(state.order, refused, late=late)
            over = _with(state._replace(call="over"), after)
            yield Move(f"the call is not made: {reason}", Kind.DUE, over)
            return
        made = state._replace(call="made")
        yield Move("payment is called", Kind.DUE, Result(made, (_ask(state.order),)))
        if state.unknowns:
            lost = made._replace(unknowns=state.unknowns - 1)
            yield Move("the call is lost on its way", Kind.DUE, Result(lost))
        if state.strays:
            stray = state._replace(strays=state.strays - 1)
            label = "payment is called by somebody whose lease is over"
            yield Move(label, Kind.DUE, Result(stray, (_ask(state.order),)))


def _with(state: PayingState, result: Result) -> Result:
    after: Any = result.state
    return Result(state._replace(order=after), result.events)


def _ask(order: orders.Order) -> ChargeAsked:
    return ChargeAsked(
        order_id=order.id,
        total_amount=order.total_amount,
        currency=order.currency,
        not_after=order.not_after,
    )


def _is_answered(progress: Progress) -> bool:
    return bool(progress.facts & {"PaymentSucceeded", "PaymentFailed", "PaymentRefunded"})
