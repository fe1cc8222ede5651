"""Waits until every order has ended, and until nothing is under way, as the audit has it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import MessagingError
from waybill.operations.audit.quiescence import read_standing
from waybill.operations.audit.scope import DATABASES, scope_of
from waybill.operations.audit.snapshot import Reading, ReadLimits

if TYPE_CHECKING:
    from waybill.operations.bench.confirmations import Confirmations
    from waybill.operations.bench.target import Target

POLL_SECONDS: Final = 0.02


class BenchFailedError(MessagingError):
    """The platform did not do what is to be measured: there are no figures."""


@dataclass(frozen=True)
class Rest:
    """Both waits raise BenchFailedError once `seconds_max` have passed since their beginning."""

    target: Target
    confirmations: Confirmations
    seconds_max: float

    async def until_ended(self) -> None:
        """Every order that was handed in has ended."""
        give_up = time.perf_counter() + self.seconds_max
        while self.confirmations.pending:
            await self._wait(f"{self.confirmations.pending} orders have not ended", give_up)

    async def until_quiet(self, *, parked_too: bool = False) -> None:
        """Nothing is under way; `parked_too`: and no call waits for a later turn."""
        give_up = time.perf_counter() + self.seconds_max
        scope = scope_of(self.target.blueprint, DATABASES)
        async with AsyncExitStack() as stack:
            readings = {}
            for database, url in self.target.auditor_urls.items():
                readings[database] = await Reading.open(database, url, ReadLimits())
                stack.push_async_callback(readings[database].close)
            while True:
                standing = await read_standing(scope, readings)
                waits = standing.waits if parked_too else {}
                if standing.is_quiet and not waits:
                    return
                what = [standing.told(), *(f"{count} {each}" for each, count in waits.items())]
                await self._wait(", ".join(filter(None, what)), give_up)

    async def _wait(self, what: str, give_up: float) -> None:
        if (failure := self.confirmations.failure) is not None:
            raise BenchFailedError(f"how orders end cannot be read: {failure}")
        if time.perf_counter() > give_up:
            raise BenchFailedError(
                f"not at rest {self.seconds_max:.0f} s after the last order was sent: {what}"
            )
        await asyncio.sleep(POLL_SECONDS)
