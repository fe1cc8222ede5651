"""The whole play: stock is filled, each act of the blueprint is played, the books are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.platform.demo.acts import LIVE, SPOKEN, acts_of
from waybill.platform.demo.books import check_books, open_books
from waybill.platform.demo.shop import STOCK
from waybill.platform.demo.table import live_table

if TYPE_CHECKING:
    from rich.console import Console

    from waybill.platform.demo.acts import Stage


async def play(stage: Stage, console: Console) -> None:
    """Play it to its end. Raises DemoFailedError with what does not hold."""
    await stage.shop.fill(STOCK)
    opening = await open_books(stage)
    with live_table(stage, console):
        for act in acts_of(stage.blueprint, LIVE):
            await act.play(stage)
    for act in acts_of(stage.blueprint, SPOKEN):
        await act.play(stage)
    await check_books(stage, opening)
