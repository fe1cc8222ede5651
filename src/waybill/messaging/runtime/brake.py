"""The intake's brake: closed while something that fills up is above its limit (protocol I5).

It looks about once a second, beside the requests; asking it costs them nothing. What cannot be
measured leaves it as it was, so that a database that is away closes nothing by itself.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import OutcomeUnknownError, OverloadedError, TransientError
from waybill.messaging.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.messaging.runtime.ports import ServicePorts

LOOK_SECONDS = 1.0
LOOK_SECONDS_MAX = 10.0
PAUSE_FACTOR = 10
"""A look that takes long is followed by so many times that: it must not become the load."""
RETRY_AFTER_SECONDS_MAX = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Something that fills up. `setting` is what an operator may change; `limit` still passes."""

    what: str
    setting: str
    limit: float
    read: Callable[[], Awaitable[float]]


class Brake(Loop):
    """Call `check` before work is accepted; run the loop, so that it knows."""

    def __init__(self, name: str, measures: Sequence[Measure], *, ports: ServicePorts) -> None:
        super().__init__(name, ports.clock, ports.observer)
        self._measures = tuple(measures)
        self._random = ports.random
        self._closed: dict[str, str] = {}
        """By what is measured: why it closes the intake."""

    def check(self) -> None:
        """Raise OverloadedError while it is closed: nothing was done, try again later."""
        for reason in self._closed.values():
            seconds = math.ceil(self._random() * RETRY_AFTER_SECONDS_MAX) or 1
            raise OverloadedError(reason, retry_after_seconds=seconds)

    async def work(self) -> None:
        """Look until `stop`."""
        while True:
            began = self._clock.monotonic()
            for measure in self._measures:
                await self.idle(self._look(measure))
            self.progressed()
            took = self._clock.monotonic() - began
            pause = min(LOOK_SECONDS_MAX, max(LOOK_SECONDS, PAUSE_FACTOR * took))
            await self.idle(self._clock.sleep(pause))

    async def _look(self, measure: Measure) -> None:
        try:
            value = await measure.read()
        except (TransientError, OutcomeUnknownError) as error:
            # A look may be a transaction, whose COMMIT can lose its answer like any other.
            logger.debug("%s: not measured: %s", measure.what, error)
            return
        if value <= measure.limit:
            if self._closed.pop(measure.what, None) is not None:
                logger.warning("%s: %g, writes are taken again", measure.what, value)
        elif measure.what not in self._closed:
            reason = f"{measure.what}: {value:g}, more than {measure.setting}={measure.limit:g}"
            self._closed[measure.what] = reason
            logger.error("writes are refused: %s", reason)
