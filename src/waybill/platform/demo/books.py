"""What must add up when the acts are over: stock to the unit, money to the cent.

The money is the provider's own word, not the payment service's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from waybill.operations.audit.scope import DATABASES, scope_of
from waybill.platform.demo.acts import pays
from waybill.platform.demo.shop import OUTCOME_SECONDS_MAX, POLL_SECONDS, DemoFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from waybill.platform.demo.acts import Stage
    from waybill.platform.demo.shop import Journey, Product

CAPTURED: Final = frozenset({"SUCCEEDED", "REFUND_PENDING"})
"""Statuses of a payment whose money is not given back yet."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What there was before the first act: data may be older than the demo."""

    products: Mapping[int, Product]
    captured: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)


async def open_books(stage: Stage) -> Opening:
    """Look at stock and money before the first act."""
    captured, refunded = await _totals(stage)
    products = await stage.shop.products()
    return Opening(products=products, captured=captured, refunded=refunded)


async def check_books(stage: Stage, opening: Opening) -> None:
    """Wait until nothing is under way and all adds up, then show it.

    Raises DemoFailedError with what does not, if that takes too long.
    """
    deadline = time.monotonic() + OUTCOME_SECONDS_MAX
    while True:
        after = await stage.shop.products()
        wrong = [*_stock_wrong(stage, opening.products, after)]
        if not wrong and pays(stage.blueprint):
            wrong = [each async for each in _money_wrong(stage, opening)]
        if not wrong:
            break
        if time.monotonic() > deadline:
            raise DemoFailedError(f"the books do not balance: {'; '.join(wrong)}")
        await asyncio.sleep(POLL_SECONDS)
    _show_stock(stage, opening.products, after)
    if pays(stage.blueprint):
        await _show_money(stage, opening)
    _show_refused(stage)


async def _totals(stage: Stage) -> tuple[Decimal, Decimal]:
    nothing = Decimal(0), Decimal(0)
    return nothing if stage.provider is None else await stage.provider.totals()


def _confirmed(stage: Stage) -> list[Journey]:
    return [each for each in stage.shop.journeys if stage.shop.is_confirmed(each)]


def _units(stage: Stage) -> Counter[int]:
    """What the confirmed orders have of each product."""
    units = Counter[int]()
    for journey in _confirmed(stage):
        units[journey.product] += journey.quantity
    return units


def _sells(stage: Stage) -> bool:
    """Whether a confirmed order's units are sold; else they stay reserved for it."""
    return scope_of(stage.blueprint, DATABASES).sells


def _stock_wrong(
    stage: Stage, before: Mapping[int, Product], after: Mapping[int, Product]
) -> Iterator[str]:
    units, sells = _units(stage), _sells(stage)
    for number, product in after.items():
        first, gone = before[number], units[number]
        held = first.reserved + (0 if sells else gone)
        if (product.stock, product.reserved) != (first.stock - gone, held):
            yield (
                f"{product.name}: {first.stock} before, {gone} in confirmed orders, "
                f"{product.stock} left and {product.reserved} reserved"
            )


async def _money_wrong(stage: Stage, opening: Opening) -> AsyncIterator[str]:
    for journey in stage.shop.journeys:
        for payment in await stage.shop.payments(journey) if journey.id else ():
            status = payment["status"]
            if status == "PENDING" or (status in CAPTURED and stage.shop.has_failed(journey)):
                yield f"the payment of order {journey.id} is {status}"
    captured, refunded = await _totals(stage)
    value = _value(stage)
    if captured - opening.captured - (refunded - opening.refunded) != value:
        yield f"captured {captured}, refunded {refunded}, and confirmed orders are worth {value}"


def _value(stage: Stage) -> Decimal:
    return sum((journey.total for journey in _confirmed(stage)), Decimal(0))


def _show_stock(stage: Stage, before: Mapping[int, Product], after: Mapping[int, Product]) -> None:
    units, word = _units(stage), "sold" if _sells(stage) else "reserved for confirmed orders"
    stage.say("\nstock, to the unit")
    for number, product in after.items():
        first = before[number].stock
        stage.say(
            f"  {product.name:<20} {first:>4} = {product.stock:>4} left + {units[number]:>3} {word}"
        )


async def _show_money(stage: Stage, opening: Opening) -> None:
    captured, refunded = await _totals(stage)
    captured, refunded = captured - opening.captured, refunded - opening.refunded
    stage.say(
        f"\nmoney, by the payment provider's own ledger\n"
        f"  {captured:.2f} EUR captured - {refunded:.2f} refunded = {captured - refunded:.2f}\n"
        f"  value of {len(_confirmed(stage))} confirmed orders: {_value(stage):.2f} EUR"
    )


def _show_refused(stage: Stage) -> None:
    stage.say("\nwhat was refused, and why")
    for journey in stage.shop.journeys:
        if not journey.id or stage.shop.has_failed(journey):
            stage.say(f"  {journey.id[-8:]:<8}  {journey.what}: {journey.reason}")
