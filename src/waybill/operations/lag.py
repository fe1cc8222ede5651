"""Whether every consumer keeps up: the gate before a release is promoted (R273). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far one consumer is behind one source; `rows` is None if it never read it."""

    consumer: str
    source: str
    rows: int | None
    is_running: bool


def behind(
    found: Iterable[Lag], expected: Iterable[tuple[str, str]], *, rows_max: int
) -> Iterator[str]:
    """Why nothing may be promoted, one line a consumer and source; none if all keep up.

    One that nobody runs counts as behind, even with nothing to read.
    """
    by_place = {(lag.consumer, lag.source): lag for lag in found}
    for consumer, source in expected:
        lag = by_place.get((consumer, source))
        if lag is None or lag.rows is None:
            yield f"{consumer} has never read {source}"
        elif lag.rows > rows_max:
            yield f"{consumer} is {lag.rows} messages behind {source}, more than {rows_max}"
        elif not lag.is_running:
            yield f"{consumer} does not run: nobody reads {source}"
