"""What surrounds a COMMIT: buffered items flushed as the last act before it, calls after it.

One instance belongs to one transaction. It is the shared half of every Transaction adapter.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.core.ports import Transaction

    Flush = Callable[[Transaction, Sequence[Any]], Awaitable[None]]
    Mark = tuple[dict[Flush, int], int]

logger = logging.getLogger(__name__)

CONTROL = re.compile(
    r"\s*(BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+((WORK|TRANSACTION)\s+)?TO\b))\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)  # statements are constants: judged once
def refuse_control(statement: str) -> None:
    """Raise RuntimeError for SQL that would end a unit's transaction, or nest one (O7, E4)."""
    if CONTROL.match(statement):
        raise RuntimeError(cannot(statement.split(None, 1)[0].upper()))


def cannot(act: str) -> str:
    """What is told to who tries."""
    return f"{act}: only the runtime ends a unit of work; raise an exception to roll it back"


class CommitActs:
    """Buffers by their flush function, and the calls that follow the commit."""

    __slots__ = ("_buffers", "_calls", "_doubts", "at_last", "flushed")

    def __init__(self) -> None:
        self._buffers: dict[Flush, list[Any]] = {}
        self._calls: list[Callable[[], None]] = []
        self._doubts: list[Callable[[], None]] = []
        self.flushed = False
        """True once the flush has begun: nothing may be buffered any more."""
        self.at_last = False
        """True while the last buffer is flushed."""

    def buffer(self, flush: Flush) -> list[Any]:
        """See Transaction.buffer."""
        if self.flushed:
            message = (
                "the outbox of this transaction is already flushed, COMMIT comes next: "
                "append before the transaction ends"
            )
            raise RuntimeError(message)
        found = self._buffers.get(flush)
        if found is None:
            found = self._buffers[flush] = []
        return found

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self._calls.append(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        """See Transaction.on_unknown. One of a rolled-back savepoint stays."""
        self._doubts.append(call)

    def mark(self) -> Mark:
        """Where things stand now, for `rewind`."""
        return {flush: len(items) for flush, items in self._buffers.items()}, len(self._calls)

    def rewind(self, mark: Mark) -> None:
        """Take out what came after the mark: its savepoint was rolled back."""
        lengths, calls = mark
        for flush, items in self._buffers.items():
            del items[lengths.get(flush, 0) :]
        del self._calls[calls:]

    async def flush(self, transaction: Transaction) -> None:
        """Flush every buffer that holds something. COMMIT must be the next thing sent."""
        self.flushed = True
        buffers = [(flush, items) for flush, items in self._buffers.items() if items]
        for number, (flush, items) in enumerate(buffers, start=1):
            self.at_last = number == len(buffers)
            await flush(transaction, items)

    def committed(self) -> None:
        """Make the calls. The commit stands, so one that raises is logged and passed over."""
        calls, self._calls = self._calls, []
        _make(calls)

    def unknown(self) -> None:
        """Make the calls for a COMMIT without an answer."""
        doubts, self._doubts = self._doubts, []
        _make(doubts)


def _make(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:
            logger.exception("a call after the commit failed; what the commit did stands")
