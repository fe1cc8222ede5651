"""The orders of the demo as a table that is drawn while they are on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.table import Table

from waybill.platform.demo.acts import pays

if TYPE_CHECKING:
    from rich.console import Console

    from waybill.platform.demo.acts import Stage

ID_LENGTH: Final = 8
"""The end of an id tells orders apart."""
REFRESHES_PER_SECOND: Final = 12


def live_table(stage: Stage, console: Console) -> Live:
    """Drawn again and again on a terminal, and once at the end elsewhere."""
    return Live(
        get_renderable=lambda: _table(stage),
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
        auto_refresh=console.is_terminal,
    )


def _table(stage: Stage) -> Table:
    table = Table(box=None, pad_edge=False)
    takes_money = pays(stage.blueprint)
    titles = ("order", "lines", *(["EUR"] if takes_money else []), "POST", "its way", "ms", "why")
    for title in titles:
        right = title in {"EUR", "ms"}
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "why")
    for journey in stage.shop.journeys:
        table.add_row(
            journey.id[-ID_LENGTH:],
            journey.what,
            *([f"{journey.total:.2f}"] if takes_money else []),
            str(journey.answer),
            " > ".join(journey.path),
            f"{journey.milliseconds:.0f}" if journey.id else "",
            journey.reason,
        )
    return table
