"""Crash points, armed: die, fail, wait or stand still at an exact point of one's own process.

What is armed happens once, and is reported before it happens. A plan whose action was never
reached fails: such a test has shown nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError, OutcomeUnknownError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

COMMITTED = "transaction.after_commit"
"""Where COMMIT is answered, and the answer can still be lost."""

ACTIONS = ("kill", "fail", "do_then_fail", "delay", "block")
"""What can be armed; each is a method of CrashPlan."""

DELAY_SECONDS = 0.2
REACH_SECONDS = 10.0


_acts: ContextVar[tuple[tuple[str, Armed], ...]] = ContextVar("acts", default=())
"""What this task is doing, by the points behind each act, and what happens there."""


class CutConnectionError(OutcomeUnknownError, ConnectionResetError):
    """The act was done and its answer was lost: what a driver raises for a cut connection."""


class Occurrence(TypedDict, total=False):
    """Which time of a point is meant: the `nth` one, of those that come with the name `match`."""

    match: str | None
    nth: int


class Armed:
    """An action that waits for its point."""

    def __init__(
        self,
        action: str,
        point: str,
        act: Callable[[], Awaitable[None]],
        *,
        match: str | None = None,
        nth: int = 1,
    ) -> None:
        self.action = action
        self.point = point
        self.act = act
        self.name = ""
        """Whose point it was, once it was reached: a consumer's id, a kind of delivery."""
        self._match = match
        self._left = nth
        self._reached = threading.Event()
        self._arrived = asyncio.Event()

    @property
    def is_reached(self) -> bool:
        """Whether the process came there."""
        return self._reached.is_set()

    async def reached(self, within_seconds: float = REACH_SECONDS) -> None:
        """Wait, in the event loop that comes to the point. Raises TimeoutError."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._arrived.wait()
        except TimeoutError:
            reason = f"{self.action} at {self.point} was not reached within {within_seconds:g} s"
            raise TimeoutError(reason) from None

    def wait(self, seconds: float) -> bool:
        """Wait in another thread than the event loop's; whether it was reached."""
        return self._reached.wait(seconds)

    def is_due(self, point: str, name: str) -> bool:
        """Count this occurrence; whether it is the one that is meant.

        An act that is to be done first may fail by itself: then a later one is meant.
        """
        if point != self.point or self._match not in {None, name}:
            return False
        self._left -= 1
        return self._left == 0 or (self._left < 0 and self.action == "do_then_fail")

    def report(self) -> None:
        """The process is there."""
        self._arrived.set()
        self._reached.set()


class Block(Armed):
    """Stands still until it is released."""

    def __init__(self, point: str, **occurrence: Unpack[Occurrence]) -> None:
        super().__init__("block", point, self._stand, **occurrence)
        self._gate = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def release(self) -> None:
        """Let it go on, from any thread; before it is reached: let it pass. May be repeated."""
        with self._lock:
            if self._loop is None:
                self._gate.set()
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._gate.set)

    async def _stand(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
        await self._gate.wait()


class CrashPlan:
    """What happens at which points of this process while its block lasts.

    Leaving the block without an error raises AssertionError if an action was not reached.
    `on_reach` is called before each action.
    """

    def __init__(self, *, on_reach: Callable[[Armed], None] | None = None) -> None:
        self._on_reach = on_reach
        self._armed: list[Armed] = []
        self._blocks: list[Block] = []

    def kill(self, point: str, **occurrence: Unpack[Occurrence]) -> Armed:
        """SIGKILL to this process: nothing is flushed, nothing is closed."""
        return self._arm(Armed("kill", point, _kill, **occurrence))

    def fail(
        self, point: str, error: BaseException | None = None, **occurrence: Unpack[Occurrence]
    ) -> Armed:
        """Raise `error`, or what an adapter does there: TransientError, or CutConnectionError."""
        return self._arm(Armed("fail", point, _raiser(error or _error_at(point)), **occurrence))

    def do_then_fail(
        self, point: str, error: BaseException | None = None, **occurrence: Unpack[Occurrence]
    ) -> Armed:
        """Let the act behind a `before` point be done, then raise in place of its answer.

        A COMMIT goes through, and its connection counts as cut. Reached once it was done.
        """
        then = _end_of(point)
        act = _raiser(error or _error_at(then))
        return self._arm(Armed("do_then_fail", point, act, **occurrence))

    def delay(
        self, point: str, seconds: float = DELAY_SECONDS, **occurrence: Unpack[Occurrence]
    ) -> Armed:
        """Stand still for so long."""
        return self._arm(Armed("delay", point, lambda: asyncio.sleep(seconds), **occurrence))

    def block(self, point: str, **occurrence: Unpack[Occurrence]) -> Block:
        """Stand still until `release`."""
        block = Block(point, **occurrence)
        self._blocks.append(block)
        self._arm(block)
        return block

    def disarm(self, armed: Armed) -> None:
        """Forget it, reached or not. May be repeated."""
        if armed in self._armed:
            self._armed.remove(armed)

    def install(self) -> None:
        """Watch the points from now on. Raises RuntimeError: one plan at a time."""
        if crash_points.hook is not None:
            raise RuntimeError("another plan is watching the crash points of this process")
        crash_points.hook = self._reach

    def remove(self) -> None:
        """Watch no longer, and let go what stands still."""
        crash_points.hook = None
        for block in self._blocks:
            block.release()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.remove()
        if error is None and self._armed:
            never = ", ".join(f"{armed.action} at {armed.point}" for armed in self._armed)
            raise AssertionError(f"never reached: {never}")

    def _arm(self, armed: Armed) -> Armed:
        if armed.point not in crash_points.registered():
            raise ConfigurationError(
                f"{armed.point} is no crash point of this process; there are: "
                + ", ".join(sorted(crash_points.registered()))
            )
        self._armed.append(armed)
        return armed

    async def _reach(self, point: str, name: str) -> None:
        """See core.crash_points.Hook."""
        for then, armed in _acts.get():
            if then == point and armed in self._armed:
                await self._happen(armed)
        for armed in list(self._armed):
            if armed.is_due(point, name):
                armed.name = name
                if armed.action == "do_then_fail":
                    # In this task alone, and in the one that an adapter commits in.
                    _acts.set((*_acts.get(), (_end_of(point), armed)))
                else:
                    await self._happen(armed)

    async def _happen(self, armed: Armed) -> None:
        self.disarm(armed)
        if self._on_reach is not None:
            self._on_reach(armed)
        armed.report()
        await armed.act()


def _end_of(point: str) -> str:
    """The point behind the act that this one stands before."""
    if ".before_" not in point:
        raise ConfigurationError(
            f"{point}: its act is done already; arm do_then_fail before it, or fail here"
        )
    return COMMITTED if point.endswith(".before_commit") else point.replace(".before_", ".after_")


def _error_at(point: str) -> Exception:
    known = crash_points.registered().get(point)
    if known is not None and known.is_unknown:
        return CutConnectionError(f"the connection was cut at {point}")
    return TransientError(f"the connection failed at {point}")


def _raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


async def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
