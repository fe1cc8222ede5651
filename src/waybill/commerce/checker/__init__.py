"""Proves of a process and its participants that every order ends, with all accounts balanced.

Walks every order of messages, duplicates, dead letters, redrives, losses, cancels, deadlines and
provider outcomes within the limits, over the services' own pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.commerce.checker.actors import InventoryActor, NotificationActor, OrderActor
from waybill.commerce.checker.model import Counterexample, Limits, Walk
from waybill.commerce.checker.one_order import UNITS
from waybill.commerce.checker.payment_actor import PaymentActor
from waybill.commerce.checker.search import walk
from waybill.commerce.checker.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.checker.model import Actor
    from waybill.commerce.process import Process

    Judge = Callable[[Mapping[str, Any]], str | None]

__all__ = ["FAULTS", "Counterexample", "Limits", "Walk", "check", "ending", "participants"]

FAULTS = (
    Limits(duplicates=1, dead_letters=1, losses=1, unknowns=1),
    Limits(dead_letters=1, losses=1, early=1),
    Limits(dead_letters=2, losses=2),
    Limits(duplicates=1, unknowns=1, strays=1),
    Limits(early=1, unknowns=1),
)
"""What one walk each may throw in: together some 300,000 states, walked in seconds.

No walk has both a stray call and a loss: who discards the news of money that was captured after
it had been refused breaks the balance by their own verdict, and the audit shows it (I37).
"""


def participants(process: Process, limits: Limits, available: int) -> list[Actor]:
    """The services of one order, with so many units in stock (it wants two)."""
    payment = PaymentActor(unknowns=limits.unknowns, strays=limits.strays)
    return [OrderActor(process), InventoryActor(available), payment, NotificationActor()]


def check(
    process: Process,
    build: Callable[[Process, Limits, int], Sequence[Actor]] = participants,
    faults: Sequence[Limits] = FAULTS,
    *,
    sells: bool = True,
    may_lose: Callable[[str, object], bool] | None = None,
    judge: Judge | None = None,
) -> Walk:
    """Walk everything that can happen to one order, with enough stock and without any.

    `sells`: see `ending`, which `judge` may replace; `may_lose`: see `is_repeated`. The walks'
    counts are added up; the first counterexample ends it.
    """

    def balanced(states: Mapping[str, Any]) -> str | None:
        return ending(process, states, sells=sells)

    states = endings = 0
    for limits in faults:
        for available in (0, UNITS):
            actors = build(process, limits, available)
            world = World(actors, may_lose or is_repeated, limits)
            one = walk(world, judge or balanced, states_max=limits.states_max)
            states, endings = states + one.states, endings + one.endings
            if one.counterexample is not None:
                return Walk(states, endings, one.counterexample)
    return Walk(states, endings, None)


def is_repeated(actor: str, event: object) -> bool:
    """Whether an operator may discard this message: something will ask for its effect again.

    Nobody repeats an ending: its sale of stock and its notification wait for the redrive.
    """
    return type(event).__name__ != "OrderConfirmed" and actor != "notification"


def ending(process: Process, states: Mapping[str, Any], *, sells: bool = True) -> str | None:
    """What is wrong with a world in which nothing is left to do; None if all is balanced.

    `sells`: whether inventory books a confirmed order's stock as sold. A world without payment
    owes none.
    """
    order, stock, payment = states["order"], states["inventory"], states.get("payment")
    status, level = order.progress.status, stock.level
    if not process.has_ended(order.progress):
        return f"the order stays {status} for ever"
    confirmed = status == process.confirmed.status
    if payment is not None and _money_is_wrong(payment, confirmed=confirmed):
        return f"the order is {status}, captured: {payment.captured}, refunded: {payment.refunded}"
    held = UNITS if confirmed else 0
    if (level.reserved, level.sold) != ((0, held) if sells else (held, 0)):
        return f"the order is {status}, reserved: {level.reserved}, sold: {level.sold}"
    told = states["notification"]
    may_be_told = {(int(confirmed), int(not confirmed))}
    if (process.late_cancel or process.afterwards) and not confirmed:
        may_be_told.add((1, 1))
    if told not in may_be_told:
        return f"the order is {status}, told confirmed, cancelled: {told}"
    return None


def _money_is_wrong(payment: Any, *, confirmed: bool) -> bool:  # noqa: ANN401 - the actor's state
    return (payment.captured and payment.refunded == confirmed) or (
        confirmed and not payment.captured
    )
