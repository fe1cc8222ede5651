"""Circuit breaker with Resilience4j's semantics, as a pure state machine.

Time (monotonic seconds) and randomness are arguments. It departs from Resilience4j in two
points: transitions by time happen at the next look instead of in a timer, and the result of a
call that was permitted before the last transition is dropped instead of counted in the new state.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMUM_JITTER = 0.5
"""With jitter 1 an open breaker waits between half and all of its time, never zero."""

CALLS: Final = ("successful", "failed", "ignored", "not_permitted")
"""What can become of a call, by the names of Resilience4j's metrics."""


class BreakerState(Enum):
    """Where the machine is. An operator's states let every call through, or none."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    DISABLED = "disabled"
    FORCED_OPEN = "forced_open"


OPERATORS: Final = frozenset({BreakerState.DISABLED, BreakerState.FORCED_OPEN})
"""They stay until `reset`, and count no calls towards a rate."""


class Window(Enum):
    """What the sliding window counts: the last N calls, or the calls of the last N seconds."""

    COUNT = "count"
    TIME = "time"


@dataclass(frozen=True)
class BreakerPolicy:
    """Settings under Resilience4j's meaning (CircuitBreakerConfig), with Waybill's defaults.

    Rates are shares (0..1]; the breaker opens at a rate of the threshold or above. A call is
    slow if it took longer than `slow_seconds`; slow ones count whether they failed or not.
    `open_seconds` is shortened by up to half at random, so that processes do not probe together.
    `half_open_seconds_max` of 0 waits for ever: a lost permit then sticks.
    """

    window: Window = Window.COUNT
    window_size: int = 20
    calls_min: int = 10
    failure_rate: float = 0.5
    slow_seconds: float = 2.0
    slow_rate: float = 0.8
    open_seconds: float = 5.0
    open_jitter: float = 1.0
    half_open_calls: int = 3
    half_open_seconds_max: float = 10.0

    def __post_init__(self) -> None:
        if self.window_size < 1 or self.calls_min < 1 or self.half_open_calls < 1:
            reason = "window_size, calls_min and half_open_calls are at least 1"
            raise ValueError(reason)
        if not (0 < self.failure_rate <= 1 and 0 < self.slow_rate <= 1):
            reason = "failure_rate and slow_rate are shares in (0, 1]"
            raise ValueError(reason)
        if not 0 <= self.open_jitter <= 1:
            reason = "open_jitter is a share in [0, 1]"
            raise ValueError(reason)


class Permit(NamedTuple):
    """Leave for one call. Hand it back with its result, or `release` it."""

    generation: int


class Breaker:
    """One outside party's breaker. Not thread-safe: one event loop.

    `calls` counts what became of every call that asked, by the names in CALLS.
    """

    def __init__(self, policy: BreakerPolicy, random: Callable[[], float]) -> None:
        self.calls: dict[str, int] = dict.fromkeys(CALLS, 0)
        self._policy = policy
        self._random = random
        self._generation = 0
        self._state = BreakerState.CLOSED
        self._since = 0.0
        self._open_until = 0.0
        self._permitted = 0
        self._window = _window(policy)

    def state(self, now: float) -> BreakerState:
        """The state at `now`; an open one stays open until a call asks, however long."""
        self._tick(now)
        return self._state

    def wait_seconds(self, now: float) -> float:
        """How long an open breaker surely still rejects; 0 if a call may be permitted."""
        self._tick(now)
        if self._state is BreakerState.FORCED_OPEN:
            return self._policy.open_seconds
        return max(0.0, self._open_until - now) if self._state is BreakerState.OPEN else 0.0

    def force(self, state: BreakerState, now: float) -> None:
        """An operator's word: DISABLED lets every call through, FORCED_OPEN none, until `reset`."""
        if state not in OPERATORS:
            raise ValueError(f"{state.value} follows from calls; only reset() ends a forced state")
        self._enter(state, now)

    def reset(self, now: float) -> None:
        """Closed with an empty window, whatever it was."""
        self._close(now)

    def permit(self, now: float) -> Permit | None:
        """Leave to call, or None: rejected. The first ask after the open time half-opens."""
        self._tick(now)
        if self._state is BreakerState.OPEN and now >= self._open_until:
            self._half_open(now)
        rejects = self._state in {BreakerState.OPEN, BreakerState.FORCED_OPEN}
        if self._state is BreakerState.HALF_OPEN:
            rejects = self._permitted >= self._policy.half_open_calls
            self._permitted += not rejects
        if rejects:
            self.calls["not_permitted"] += 1
            return None
        return Permit(self._generation)

    def record(self, permit: Permit, now: float, *, failed: bool, seconds: float) -> None:
        """The call ended after `seconds`. A business refusal is a success of the transport."""
        self._tick(now)
        self.calls["failed" if failed else "successful"] += 1
        if permit.generation != self._generation or self._state in OPERATORS:
            return
        window = self._window
        window.add(now, failed=failed, slow=seconds > self._policy.slow_seconds)
        if self._state is BreakerState.CLOSED:
            if window.calls >= self._calls_min and self._too_bad():
                self._open(now)
        elif window.calls >= self._policy.half_open_calls:
            if self._too_bad():
                self._open(now)
            else:
                self._close(now)

    def release(self, permit: Permit, now: float) -> None:
        """The call was not made, or its result says nothing: count it neither way."""
        self._tick(now)
        self.calls["ignored"] += 1
        if permit.generation == self._generation and self._state is BreakerState.HALF_OPEN:
            self._permitted -= 1

    @property
    def _calls_min(self) -> int:
        """In a window of calls more than its size can never come together."""
        policy = self._policy
        if policy.window is Window.COUNT:
            return min(policy.calls_min, policy.window_size)
        return policy.calls_min

    def _too_bad(self) -> bool:
        window = self._window
        return (
            window.failed / window.calls >= self._policy.failure_rate
            or window.slow / window.calls >= self._policy.slow_rate
        )

    def _tick(self, now: float) -> None:
        longest = self._policy.half_open_seconds_max
        if self._state is BreakerState.HALF_OPEN and longest and now >= self._since + longest:
            self._open(self._since + longest)

    def _open(self, now: float) -> None:
        self._enter(BreakerState.OPEN, now)
        shortened = self._policy.open_jitter * (1 - MINIMUM_JITTER) * self._random()
        self._open_until = now + self._policy.open_seconds * (1 - shortened)

    def _half_open(self, now: float) -> None:
        self._enter(BreakerState.HALF_OPEN, now)
        self._permitted = 0
        self._window = _CountWindow(self._policy.half_open_calls)

    def _close(self, now: float) -> None:
        self._enter(BreakerState.CLOSED, now)
        self._window = _window(self._policy)

    def _enter(self, state: BreakerState, now: float) -> None:
        self._generation += 1
        self._state = state
        self._since = now


class _CountWindow:
    """The last `size` calls."""

    def __init__(self, size: int) -> None:
        self._results: deque[tuple[bool, bool]] = deque()
        self._size = size
        self.calls = self.failed = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:  # noqa: ARG002 - as the other
        self._results.append((failed, slow))
        self.calls += 1
        self.failed += failed
        self.slow += slow
        if self.calls > self._size:
            old_failed, old_slow = self._results.popleft()
            self.calls -= 1
            self.failed -= old_failed
            self.slow -= old_slow


class _TimeWindow:
    """The calls of the last `size` whole seconds, this one included, as Resilience4j keeps them."""

    def __init__(self, size: int) -> None:
        self._seconds: deque[list[int]] = deque()
        self._size = size
        self.calls = self.failed = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        second = int(now // 1)
        while self._seconds and self._seconds[0][0] <= second - self._size:
            _, calls, old_failed, old_slow = self._seconds.popleft()
            self.calls -= calls
            self.failed -= old_failed
            self.slow -= old_slow
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0, 0])
        bucket = self._seconds[-1]
        bucket[1] += 1
        bucket[2] += failed
        bucket[3] += slow
        self.calls += 1
        self.failed += failed
        self.slow += slow


def _window(policy: BreakerPolicy) -> _CountWindow | _TimeWindow:
    if policy.window is Window.COUNT:
        return _CountWindow(policy.window_size)
    return _TimeWindow(policy.window_size)
