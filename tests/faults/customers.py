"""Customers of a platform under faults: what they were told, and whether anybody kept them out."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.acceptance.processes import wait_for
from tests.acceptance.stages import CHOREOGRAPHY
from tests.acceptance.traffic import CUSTOMERS, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from tests.acceptance.processes import PlatformProcess
    from tests.acceptance.stages import Stage

GAP_SECONDS = 0.25
"""Of a customer between two orders: four of them order some 15 times a second."""
ANSWERED_SECONDS = 5.0
"""Whoever orders while the intake is open is answered within; a call to a broker takes longer."""


class Customers(Traffic):
    """Customers at a modest rate, who count what they are answered."""

    def __init__(self, platform: PlatformProcess, stage: Stage = CHOREOGRAPHY) -> None:
        super().__init__(platform, gap_seconds=GAP_SECONDS, stage=stage)
        self.answers: Counter[int | None] = Counter()
        """By status; None: the connection broke off, or no answer came in time."""
        self._waited: list[float] = []
        """How long each answer took, in seconds."""
        self._waiting: dict[str, float] = {}
        """When the requests were sent that are not answered yet."""

    def accept(self, more: int, seconds: float = 30) -> None:
        """Wait until they were told of so many more orders that they are accepted.

        `seconds` on top of what that many orders take customers who leave gaps.
        """
        aim = len(self.accepted) + more
        what = f"{more} more orders accepted (answers: {dict(self.answers)})"
        wait_for(lambda: len(self.accepted) >= aim, seconds + more * GAP_SECONDS, what)

    @contextmanager
    def all_let_in(self) -> Iterator[None]:
        """In this block, until its end, each order is accepted, and nobody waits long for that."""
        told, before = len(self._waited), self._kept_out()
        yield
        self.accept(CUSTOMERS, ANSWERED_SECONDS)  # to the end
        assert self._kept_out() == before, "refused, without an answer, nobody there"
        now = time.monotonic()
        slowest = max([*self._waited[told:], *(now - at for at in self._waiting.copy().values())])
        assert slowest < ANSWERED_SECONDS, f"an order was answered after {slowest:.1f} s"

    def _kept_out(self) -> tuple[int, int, int]:
        return len(self.refused), self.answers[None], len(self.unreached)

    def _place(self, client: httpx2.Client, key: str) -> None:
        self._waiting[key] = time.monotonic()
        super()._place(client, key)
        self._waiting.pop(key, None)

    def _tell(self, key: str, began: float, answer: httpx2.Response | None) -> None:
        super()._tell(key, began, answer)
        self._waiting.pop(key, None)
        self._waited.append(time.monotonic() - began)
        self.answers[None if answer is None else answer.status_code] += 1
