"""Sees orders end in their rows, by primary key: the same measure whatever the blueprint.

*Written* is when the order service changed the row, by its own clock, which is this machine's:
early by that transaction's statements and its COMMIT. Looking costs the database an index look-up
for each order that is on its way.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from waybill.operations.bench.confirmations import ROWS_MAX, Confirmations, End

if TYPE_CHECKING:
    from waybill.commerce.process import Process

_LOOK: Final = """
SELECT id::text, status, extract(epoch FROM updated_at)::float8 AS written
FROM app.orders WHERE id = ANY ($1::uuid[]) AND status = ANY ($2::text[])
"""


class OrderRows(Confirmations):
    """As Confirmations, over the auditor's role; of any process."""

    def __init__(self, url: str, *, process: Process, look_seconds: float) -> None:
        super().__init__(url, look_seconds=look_seconds)
        self._good = process.confirmed.status
        self._ends = sorted({ending.status for ending in process.endings})

    async def _start(self) -> None:
        """Only orders that were handed in are looked at."""

    async def _look(self) -> list[End]:
        oldest = list(islice(self._pending, ROWS_MAX))
        rows = await self._connection.fetch(_LOOK, oldest, self._ends)
        return [(key, status == self._good, written) for key, status, written in rows]
