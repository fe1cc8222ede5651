"""The checker: choreography holds on every path; each planted bug is found on a shortest one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.checker import FAULTS, Limits, check
from waybill.commerce.checker.actors import InventoryActor, NotificationActor, OrderActor
from waybill.commerce.checker.model import Kind, Move, Result
from waybill.commerce.checker.payment_actor import PaymentActor
from waybill.commerce.checker.search import walk
from waybill.commerce.checker.world import World
from waybill.commerce.contracts import (
    OrderCancelled,
    OrderConfirmed,
    PaymentFailed,
    PaymentSucceeded,
    Reason,
    RefundRequested,
    StockReserved,
)
from waybill.commerce.inventory import domain as inventory
from waybill.commerce.orders import domain as orders
from waybill.commerce.payments import domain as payments
from waybill.commerce.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.checker.model import Actor, Counterexample
    from waybill.commerce.orders.domain import Order
    from waybill.commerce.process import Process
    from waybill.messaging.core.unit import Received

    Build = Callable[[Process, Limits, int], Sequence[Actor]]

NOTHING = orders.Decision({}, [], [])


@pytest.mark.parametrize("limits", FAULTS, ids=str)
def test_every_order_ends_balanced(limits: Limits) -> None:
    """Whatever comes in whatever order, money and stock balance and one final event is told."""
    result = check(PROCESS, faults=[limits])
    assert result.counterexample is None, str(result.counterexample)
    assert result.states > 10_000
    assert result.endings > 0


def built(
    decide_orders: Callable[..., Any] = orders.decide,
    decide_stock: Callable[..., Any] = inventory.decide,
    decide_payments: Callable[..., Any] = payments.decide,
) -> Build:
    """Participants of which one is broken."""

    def build(process: Process, limits: Limits, available: int) -> Sequence[Actor]:
        return [
            OrderActor(process, decide_orders),
            InventoryActor(available, decide_stock),
            PaymentActor(decide_payments, unknowns=limits.unknowns, strays=limits.strays),
            NotificationActor(),
        ]

    return build


def found(build: Build, limits: Limits, process: Process = PROCESS) -> Counterexample:
    """The counterexample, which must exist."""
    counterexample = check(process, build, [limits]).counterexample
    assert counterexample is not None
    return counterexample


def swallow_early_payment(
    process: Process, held: Mapping[UUID, Order], received: Sequence[Received], now: datetime
) -> orders.Decision:
    """An order service that ignores a payment fact while PENDING, as seed 003's does (D1)."""
    (order,) = held.values()
    if isinstance(received[0].event, PaymentSucceeded) and order.progress.status == "PENDING":
        return NOTHING
    return orders.decide(process, held, received, now)


def test_an_order_whose_payment_fact_arrives_before_its_stock_fact_ends_confirmed() -> None:
    """An early fact is kept: swallow it, and (without a deadline) the order hangs (D1)."""
    patient = dataclasses.replace(PROCESS, has_deadline=False)
    bug = found(built(decide_orders=swallow_early_payment), Limits(), patient)
    assert bug.problem == "the order stays STOCK_RESERVED for ever"
    assert bug.path[-2:] == ("order gets PaymentSucceeded", "order gets StockReserved")
    assert check(patient, faults=[Limits()]).counterexample is None


def test_a_swallowed_fact_is_healed_by_the_deadline() -> None:
    """What one participant forgot is asked again, so even that order ends (M3)."""
    assert (
        check(PROCESS, built(decide_orders=swallow_early_payment), [Limits()]).counterexample
        is None
    )


def test_deaf_terminal_orders_are_found() -> None:
    """An order service that ignores facts on terminal orders keeps stock or money (M5)."""

    def decide(
        process: Process,
        held: Mapping[UUID, Order],
        received: Sequence[Received],
        now: datetime,
    ) -> orders.Decision:
        (order,) = held.values()
        if process.is_terminal(order.progress.status):
            return NOTHING
        return orders.decide(process, held, received, now)

    bug = found(built(decide_orders=decide), Limits())
    assert "go round for ever" in bug.problem


def test_two_final_events_are_found() -> None:
    """An order service that announces its ending again at a repeated fact is found."""

    def decide(
        process: Process,
        held: Mapping[UUID, Order],
        received: Sequence[Received],
        now: datetime,
    ) -> orders.Decision:
        decision = orders.decide(process, held, received, now)
        (order,) = held.values()
        if not decision.orders and order.progress.status == "CONFIRMED":
            again = Publication(OrderConfirmed(order_id=order.id), 9)
            return orders.Decision({}, [], [again])
        return decision

    bug = found(built(decide_orders=decide), Limits(duplicates=1))
    assert "final events: ['OrderConfirmed']" in bug.problem


def test_missing_stock_tombstone_is_found() -> None:
    """Without a tombstone of the release a late OrderCreated holds stock for ever (M4)."""

    def decide(
        stock: Mapping[UUID, inventory.Stock],
        known: Mapping[UUID, inventory.Reservation],
        received: Iterable[Received],
        now: datetime,
        **data: Any,  # noqa: ANN401 - passed on
    ) -> inventory.Decision:
        decision = inventory.decide(stock, known, received, now, **data)
        kept = {
            key: each for key, each in decision.reservations.items() if known or each.quantities
        }
        return msgspec.structs.replace(decision, reservations=kept)

    bug = found(built(decide_stock=decide), Limits(dead_letters=1, early=1))
    assert "the order is CANCELLED, reserved: 2" in bug.problem


def test_uncommitted_stock_is_found() -> None:
    """An inventory that never books confirmed stock as sold is found (D18)."""

    def decide(
        stock: Mapping[UUID, inventory.Stock],
        known: Mapping[UUID, inventory.Reservation],
        received: Sequence[Received],
        now: datetime,
        **data: Any,  # noqa: ANN401 - passed on
    ) -> inventory.Decision:
        ours = [item for item in received if not isinstance(item.event, OrderConfirmed)]
        return inventory.decide(stock, known, ours, now, **data)

    bug = found(built(decide_stock=decide), Limits())
    assert bug.problem == "the order is CONFIRMED, reserved: 2, sold: 0"


def test_silent_participants_are_found() -> None:
    """An inventory that does not repeat its answer leaves an order open after a lost fact (M3)."""

    def decide(
        stock: Mapping[UUID, inventory.Stock],
        known: Mapping[UUID, inventory.Reservation],
        received: Iterable[Received],
        now: datetime,
        **data: Any,  # noqa: ANN401 - passed on
    ) -> inventory.Decision:
        if known and not isinstance(next(iter(received)).event, OrderConfirmed):
            return inventory.Decision({}, {}, [], [])
        return inventory.decide(stock, known, received, now, **data)

    bug = found(built(decide_stock=decide), Limits(dead_letters=1, losses=1))
    assert "go round for ever" in bug.problem


def test_second_charge_is_found() -> None:
    """Payments that know an order only by its message charge it again when asked again (D19)."""

    def decide(
        known: Mapping[UUID, payments.Payment],
        received: Sequence[Received],
        **clock: Any,  # noqa: ANN401 - now and new_id
    ) -> payments.Decision:
        asked = isinstance(received[0].event, StockReserved)
        return payments.decide({} if asked else known, received, **clock)

    bug = found(built(decide_payments=decide), Limits(duplicates=1))
    assert "charged a second time" in bug.problem


def test_missing_payment_tombstone_is_found() -> None:
    """Payments that forget a cancel which overtook its charge leave the order unanswered (M4)."""

    def decide(
        known: Mapping[UUID, payments.Payment],
        received: Sequence[Received],
        **clock: Any,  # noqa: ANN401 - now and new_id
    ) -> payments.Decision:
        if not known and isinstance(received[0].event, (OrderCancelled, RefundRequested)):
            return payments.Decision({}, [], [], [], [])
        return payments.decide(known, received, **clock)

    assert (
        "go round for ever"
        in found(built(decide_payments=decide), Limits(dead_letters=1, losses=1)).problem
    )


def test_unmarked_charges_are_still_refunded() -> None:
    """Payments that ignore a cancel charge more than they should, but all still balances."""

    def decide(
        known: Mapping[UUID, payments.Payment],
        received: Sequence[Received],
        **clock: Any,  # noqa: ANN401 - now and new_id
    ) -> payments.Decision:
        decision = payments.decide(known, received, **clock)
        return msgspec.structs.replace(decision, cancels=[])

    assert check(PROCESS, built(decide_payments=decide), [Limits()]).counterexample is None


def test_dropped_undo_is_found() -> None:
    """A process that says payment has no outside effect, and so no undo, keeps the money (M1)."""
    stock, payment = PROCESS.steps
    undoing_nothing = dataclasses.replace(payment, undo=None, undone=None, outside_effect=False)
    process = dataclasses.replace(PROCESS, steps=(stock, undoing_nothing))
    bug = found(built(), Limits(), process)
    assert bug.problem == "the order is CANCELLED, captured: True, refunded: False"
    assert "order: the customer cancels" in bug.path


def test_missing_deadline_is_found() -> None:
    """Without a deadline one lost message leaves an order open for ever (D3)."""
    process = dataclasses.replace(PROCESS, has_deadline=False)
    bug = found(built(), Limits(dead_letters=1, losses=1), process)
    assert "the order stays PENDING for ever" in bug.problem
    assert str(bug).endswith("is discarded, so lost")


def test_a_concluding_deadline_is_found() -> None:
    """A deadline that takes silence for a refusal keeps the money of a lost answer (M3)."""

    class Concluding(OrderActor):
        def moves(self, state: Order, *, late: bool) -> Iterable[Move]:
            for move in super().moves(state, late=late):
                if move.kind is Kind.WHEN_QUIET and state.progress.status == "STOCK_RESERVED":
                    refusal = PaymentFailed(order_id=state.id, reason=Reason.DEADLINE)
                    concluded = self.receive(state, refusal, late=late)
                    yield Move("the deadline concludes", Kind.WHEN_QUIET, concluded)
                else:
                    yield move

    def build(process: Process, limits: Limits, available: int) -> Sequence[Actor]:
        return [Concluding(process), *built()(process, limits, available)[1:]]

    bug = found(build, Limits(dead_letters=1, losses=1))
    assert bug.problem == "the order is CANCELLED, captured: True, refunded: False"
    assert "order: the deadline concludes" in bug.path


class Counter:
    """Counts to its end, or round and round."""

    name = "counter"

    def __init__(self, end: int, *, round_again: bool) -> None:
        self._end = end
        self._round_again = round_again

    def start(self) -> Result:
        return Result(0)

    def reads(self, event: object) -> bool:  # noqa: ARG002 - it is alone
        return False

    def receive(self, state: int, event: object, *, late: bool) -> Result:  # noqa: ARG002 - see above
        return Result(state)

    def moves(self, state: int, *, late: bool) -> Iterable[Move]:  # noqa: ARG002 - timeless
        if state < self._end:
            yield Move("counts", Kind.DUE, Result(state + 1))
        elif self._round_again:
            yield Move("begins again", Kind.DUE, Result(1))


def test_the_walk_visits_everything_and_finds_cycles() -> None:
    """The walk counts states and endings exactly, and tells what goes round for ever."""

    def fine(_states: Mapping[str, Any]) -> str | None:
        return None

    def forbidden(_actor: str, _event: object) -> bool:
        return False

    ends = World([Counter(3, round_again=False)], forbidden, Limits())
    result = walk(ends, fine, states_max=99)
    assert (result.states, result.endings, result.counterexample) == (8, 2, None)
    goes_round = World([Counter(3, round_again=True)], forbidden, Limits())
    looping = walk(goes_round, fine, states_max=99).counterexample
    assert looping is not None
    assert looping.path == ("counter: counts",)


def test_the_walk_refuses_to_grow_without_bound() -> None:
    """A walk that would not fit in memory says so instead of filling it."""
    with pytest.raises(RuntimeError, match="lower the limits"):
        check(PROCESS, faults=[Limits(unknowns=1, states_max=100)])
