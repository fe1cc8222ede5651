"""A set capacity: so many requests a second come in, the rest are refused at the door.

A token bucket that asks only the clock, so a refusal costs no more than an admission, at any load
(promises, P10). What it guards stays as fast as the rate it was tried with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.messaging.runtime.clock import Clock

BURST_SECONDS = 1.0
"""After a pause so many seconds' worth may come at once; over any longer time only the rate."""
RETRY_AFTER_SECONDS_MAX = 3


class Capacity:
    """Call `admit` for each request, before anything of it is read.

    It counts what it let in, whatever became of that; nothing is given back. `setting` is what an
    operator may change. Recovery needs nobody's help: the next token comes by itself.
    """

    def __init__(
        self,
        per_second: float,
        *,
        setting: str,
        clock: Clock,
        random: Callable[[], float],
        burst_seconds: float = BURST_SECONDS,
    ) -> None:
        if not (0 < per_second < math.inf and 0 < burst_seconds < math.inf):
            raise ConfigurationError(f"{setting}: a capacity and its burst are above 0")
        self._per_second = per_second
        self._setting = setting
        self._clock = clock
        self._random = random
        self._burst = max(1.0, per_second * burst_seconds)
        self._tokens = self._burst
        self._at = clock.monotonic()

    def admit(self) -> None:
        """Let one in, or raise OverloadedError: nothing was done, try again later."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            seconds = math.ceil(self._random() * RETRY_AFTER_SECONDS_MAX) or 1
            reason = f"more than {self._setting}={self._per_second:g} a second"
            raise OverloadedError(reason, retry_after_seconds=seconds)
        self._tokens -= 1
