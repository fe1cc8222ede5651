"""An order whose service tells others of it by a call, and the receiver of that call.

Call and order are rows of one database, so what came of the call and the order's answer are one
step here; what may be lost, doubled or late is the message that owes the call, and its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from waybill.commerce.checker.actors import OrderActor
from waybill.commerce.checker.model import Kind, Move, Result
from waybill.commerce.checker.one_order import ORDER_ID
from waybill.commerce.contracts import OrderCreated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from waybill.commerce.contracts import Event
    from waybill.commerce.process import Process

NONE, OWED, PARKED, SETTLED = "none", "owed", "parked", "settled"


class NotifyingState(NamedTuple):
    """The order, its call, how often the receiver was told; `lost` and `failing` are limits."""

    order: Any
    call: str
    told: int
    lost: int
    failing: int


class NotifyingOrderActor(OrderActor):
    """Owes one call, whatever asks for it again; a failed one is parked and tried again."""

    def __init__(
        self,
        process: Process,
        *,
        done: type[Event],
        refused: type[Event],
        lost: int,
        failing: int,
        receiver_is_idempotent: bool = True,
    ) -> None:
        super().__init__(process)
        self._done = done(order_id=ORDER_ID)
        self._refused = refused(order_id=ORDER_ID)
        self._limits = (lost, failing)
        self._is_idempotent = receiver_is_idempotent

    def start(self) -> Result:
        """The order is placed."""
        placed = super().start()
        return Result(NotifyingState(placed.state, NONE, 0, *self._limits), placed.events)

    def reads(self, event: Event) -> bool:
        """Its own topic."""
        return isinstance(event, OrderCreated)

    def receive(self, state: Any, event: Event, *, late: bool) -> Result:  # noqa: ANN401, ARG002 - its own state; a call has no deadline
        """Owe the call, once."""
        return Result(state._replace(call=OWED) if state.call == NONE else state)

    def moves(self, state: Any, *, late: bool) -> Iterable[Move]:  # noqa: ANN401 - its own state
        """What becomes of the call; the deadline's question."""
        told = state.told if state.told and self._is_idempotent else state.told + 1
        if state.call == OWED:
            delivered = state._replace(told=told)
            yield Move("the call is answered", Kind.DUE, self._folded(delivered, self._done, late))
            if state.lost:
                lost = delivered._replace(lost=state.lost - 1)
                yield Move("the call's answer is lost", Kind.DUE, Result(lost))
            if state.failing:
                parked = state._replace(call=PARKED, failing=state.failing - 1)
                yield Move("all tries of the call fail", Kind.DUE, Result(parked))
        if state.call == PARKED:
            yield Move("the periodic retry", Kind.DUE, Result(state._replace(call=OWED)))
            given_up = self._folded(state, self._refused, late)
            yield Move("an operator gives the call up", Kind.OPTIONAL, given_up)
        for move in super().moves(state.order, late=late):
            if move.kind is Kind.WHEN_QUIET and state.call != NONE:
                continue  # its deadline asks for nothing that it owes already
            after = self._state(move.result, state)
            yield move._replace(result=Result(after, move.result.events))

    def _folded(self, state: NotifyingState, fact: Event, late: bool) -> Result:  # noqa: FBT001 - private
        result = super().receive(state.order, fact, late=late)
        return Result(self._state(result, state._replace(call=SETTLED)), result.events)

    def _state(self, result: Result, state: NotifyingState) -> NotifyingState:
        return state._replace(order=result.state)


def told_once(process: Process, states: Mapping[str, Any]) -> str | None:
    """What is wrong with a world in which nothing is left to do; None if all is as promised."""
    state: NotifyingState = states["order"]
    status = state.order.progress.status
    if not process.has_ended(state.order.progress):
        return f"the order stays {status} for ever"
    if state.told > 1 or (status == process.confirmed.status and not state.told):
        return f"the order is {status}, the receiver was told {state.told} times"
    return None
