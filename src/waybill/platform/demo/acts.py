"""The acts of `waybill demo`: every kind of order that a blueprint has, seen live.

Which ones are played follows from the blueprint's process and contract; none asks for its name.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx2

from waybill.platform.demo.shop import (
    OUTCOME_SECONDS_MAX,
    POLL_SECONDS,
    STOCK,
    DemoFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.payments.simulator import SimulatedProvider
    from waybill.commerce.testing.gate import Gate
    from waybill.platform.demo.shop import Journey, Shop

PAYMENT_SERVICE: Final = "payment-service"
PLENTY: Final = (1, 2, 3, 5)
"""Products with stock for all acts."""
SCARCE: Final = 4
"""The one of which somebody wants more than there is."""

ORDERS_MIN, ORDERS_MAX = 6, 40
"""Enough to look at; and by then the provider has refused one, if one in five."""
FORCED: Final = {"success": {"confirmed"}, "failure": {"refused"}}
"""What there is to see if the user has the provider decide in one way."""
HELD_SECONDS: Final = 3.0
"""How long the provider holds the payment of the order that its customer cancels."""
CALL_SECONDS: Final = 0.5
"""Long enough for a charge that is owed to be on its way."""
AWAY_SECONDS: Final = 1.0
"""How long whoever is called stays away, after the orders were answered."""


@dataclass(kw_only=True)
class Stage:
    """Where the acts are played. `provider` takes the money, where there is any to take.

    `gate` is before the service that orders call, where they call one. `forced` is what the
    provider does when no act tells it otherwise.
    """

    blueprint: Blueprint
    shop: Shop
    say: Callable[[str], None]
    provider: SimulatedProvider | None = None
    gate: Gate | None = None
    forced: str = ""

    @contextmanager
    def paying(self, held_seconds: float = 0.0) -> Iterator[None]:
        """Every payment is captured meanwhile, after so long."""
        if self.provider is None:
            yield
            return
        self.provider.behave(force_outcome="success", delay_seconds=held_seconds)
        try:
            yield
        finally:
            self.provider.behave(force_outcome=self.forced, delay_seconds=0.0)


@dataclass(frozen=True)
class Act:
    """One act, and which blueprints have it."""

    play: Callable[[Stage], Awaitable[None]]
    is_of: Callable[[Blueprint], bool] = lambda _: True


def pays(blueprint: Blueprint) -> bool:
    """Whether money is taken."""
    return PAYMENT_SERVICE in blueprint.services


def calls(blueprint: Blueprint) -> bool:
    """Whether orders call another service by HTTP."""
    return blueprint.process.steps[0].called or blueprint.orders.notices is not None


def _cancels_payments(blueprint: Blueprint) -> bool:
    """Whether a customer may cancel while events have the payment under way."""
    return blueprint.orders.contract.cancellable and pays(blueprint) and not calls(blueprint)


def _refuses_late_cancels(blueprint: Blueprint) -> bool:
    return blueprint.orders.contract.cancellable and not blueprint.process.late_cancel


async def usual_orders(stage: Stage) -> None:
    """Orders until each outcome was seen that needs nothing special."""
    shop, seen = stage.shop, set[str]()
    wanted = {"confirmed", *(["refused"] if pays(stage.blueprint) else [])}
    wanted = FORCED.get(stage.forced, wanted)
    for number in range(ORDERS_MAX):
        journey = await shop.place(PLENTY[number % len(PLENTY)], 1 + number % 2)
        await shop.follow(journey)
        seen.add("confirmed" if shop.is_confirmed(journey) else "refused")
        if seen >= wanted and number + 1 >= ORDERS_MIN:
            return
    raise DemoFailedError(f"{ORDERS_MAX} orders, and none was {', '.join(wanted - seen)}")


async def more_than_there_is(stage: Stage) -> None:
    """Nothing of it may be sold: refused at once by whoever has the stock, or undone."""
    shop, quantity = stage.shop, STOCK[SCARCE] + 1
    started = time.monotonic()
    with stage.paying():
        answer = await shop.post(shop.next_key(), (SCARCE, quantity))
        if stage.blueprint.orders.stock is not None:
            if answer.status_code != httpx2.codes.CONFLICT:
                raise DemoFailedError(f"{quantity} of {STOCK[SCARCE]}: {answer.status_code}")
            shop.turned_away(answer, SCARCE, quantity, "no order")
            return
        journey = shop.taken(answer, SCARCE, quantity, started=started, what="")
        await shop.follow(journey)
    if not shop.has_failed(journey):
        raise DemoFailedError(f"{journey.what} were sold, of {STOCK[SCARCE]}")


async def cancelled_on_its_way(stage: Stage) -> None:
    """The provider holds the charge; meanwhile the customer changes their mind."""
    with stage.paying(HELD_SECONDS):
        journey = await stage.shop.place(5, 3, "cancelled while it is paid")
        await _until_payment(stage, journey, lambda _: True)
        # The charge is owed; now it goes out, and the provider holds it. A cancel before that
        # would be right too, but nothing would have to be given back.
        await asyncio.sleep(CALL_SECONDS)
        await _cancel(stage, journey)
        await _until_payment(stage, journey, lambda status: status != "PENDING")


async def _until_payment(stage: Stage, journey: Journey, is_right: Callable[[str], bool]) -> None:
    """Wait until the order has a payment, with such a status."""
    deadline = time.monotonic() + OUTCOME_SECONDS_MAX
    while time.monotonic() < deadline:
        if any(is_right(payment["status"]) for payment in await stage.shop.payments(journey)):
            return
        await asyncio.sleep(POLL_SECONDS)
    raise DemoFailedError(f"the payment of order {journey.id} does not go on")


async def cancelled_after_all(stage: Stage) -> None:
    """A confirmed order that its customer cancels: what it held is given back."""
    with stage.paying():
        journey = await stage.shop.place(3, 2, "cancelled when it was confirmed")
        await stage.shop.follow(journey)
        await _cancel(stage, journey)


async def _cancel(stage: Stage, journey: Journey) -> None:
    status = await stage.shop.cancel(journey)
    if status != stage.blueprint.orders.contract.cancel_status:
        raise DemoFailedError(f"the cancel of order {journey.id} answered {status}")
    await stage.shop.follow(journey, is_cancelled=True)


async def the_other_side_is_away(stage: Stage) -> None:
    """Orders are taken all the same, and go on when it is back; one is cancelled before that."""
    if stage.gate is None:
        return
    shop, names = stage.shop, ["the other side is away"]
    if stage.blueprint.orders.contract.cancellable:
        names.append("away, and cancelled meanwhile")
    with stage.paying():
        await stage.gate.shut()
        try:
            journeys = await asyncio.gather(*(shop.place(2, 1, name) for name in names))
            await asyncio.sleep(AWAY_SECONDS)
            for journey in journeys:
                await shop.look(journey)
                if journey.status != stage.blueprint.process.initial:
                    raise DemoFailedError(
                        f"order {journey.id} is {journey.status}, and nobody paid"
                    )
            for journey in journeys[1:]:
                await _cancel(stage, journey)
        finally:
            await stage.gate.open()
        await shop.follow(journeys[0])
    if not shop.is_confirmed(journeys[0]):
        raise DemoFailedError(f"order {journeys[0].id} ended as {journeys[0].status}")


async def same_key(stage: Stage) -> None:
    """One key three times, the third time with another body: one order."""
    shop, contract = stage.shop, stage.blueprint.orders.contract
    key, started = shop.next_key(), time.monotonic()
    with stage.paying():
        first = await shop.post(key, (1, 1))
        second, other = await shop.post(key, (1, 1)), await shop.post(key, (1, 2))
        journey = shop.taken(first, 1, 1, started=started, what="one key three times")
        await shop.follow(journey)
    if contract.refuses_replays:
        is_right = second.status_code == contract.key_reused_status and journey.id in second.text
        told = "which names the first order"
    else:
        is_right = second.is_success and first.content == second.content
        told = "with the identical body"
    codes = (first.status_code, second.status_code, other.status_code)
    if not is_right or other.status_code != contract.key_reused_status:
        raise DemoFailedError(f"one key three times answered {codes}: {second.text} {other.text}")
    stage.say(
        f"\nsame key twice: {codes[0]}, then {codes[1]} {told}; with another body: {codes[2]}"
    )


async def cancelled_too_late(stage: Stage) -> None:
    """What is confirmed stays confirmed."""
    journey = next(each for each in stage.shop.journeys if stage.shop.is_confirmed(each))
    status = await stage.shop.cancel(journey)
    if status != httpx2.codes.CONFLICT:
        raise DemoFailedError(f"the cancel of confirmed order {journey.id} answered {status}")
    stage.say(f"cancel of a confirmed order: {status}")


LIVE: Final = (
    Act(usual_orders),
    Act(more_than_there_is),
    Act(cancelled_on_its_way, _cancels_payments),
    Act(cancelled_after_all, lambda blueprint: blueprint.process.late_cancel),
    Act(the_other_side_is_away, calls),
)
"""They are seen in the table as they happen."""
SPOKEN: Final = (Act(same_key), Act(cancelled_too_late, _refuses_late_cancels))
"""They are told in a line."""


def acts_of(blueprint: Blueprint, acts: tuple[Act, ...]) -> list[Act]:
    """Those of them that this blueprint has."""
    return [act for act in acts if act.is_of(blueprint)]
