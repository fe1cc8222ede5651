"""What a walk is made of: actors, the moves they make, the limits of the faults, what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class ViolationError(Exception):
    """An actor saw something that must never happen."""


class Result(NamedTuple):
    """An actor's next state and the events that it publishes."""

    state: Hashable
    events: tuple[Hashable, ...] = ()


class Kind(Enum):
    """When a move without a message may and must happen."""

    DUE = "it happens in the end"
    OPTIONAL = "it may happen or not"
    WHEN_QUIET = "it happens once nothing else is due (and earlier, while the limit allows)"


class Move(NamedTuple):
    """Something that an actor does without a message."""

    label: str
    kind: Kind
    result: Result


class Actor(Protocol):
    """One participant. Its states and events are frozen and hashable; its functions are pure."""

    name: str

    def start(self) -> Result:
        """Its first state, and the events with which it begins."""

    def reads(self, event: Any) -> bool:  # noqa: ANN401 - the actors agree on the events' type
        """Whether it gets this event."""

    def receive(self, state: Any, event: Any, *, late: bool) -> Result:  # noqa: ANN401 - as above
        """Apply one message; `late`: the deadline has passed. May raise ViolationError."""

    def moves(self, state: Any, *, late: bool) -> Iterable[Move]:  # noqa: ANN401 - its own state
        """What it may do now without a message. May raise ViolationError."""


@dataclass(frozen=True)
class Limits:
    """How often each fault may happen on one path.

    `early` counts questions that are asked before all is quiet; `unknowns` calls without an answer,
    `strays` calls that go on after their lease was lost.
    """

    duplicates: int = 0
    dead_letters: int = 0
    losses: int = 0
    early: int = 0
    unknowns: int = 0
    strays: int = 0
    states_max: int = 2_000_000


@dataclass(frozen=True)
class Counterexample:
    """A shortest way to something that must not be."""

    problem: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {label}" for number, label in enumerate(self.path, 1))
        return f"{self.problem}\n{steps}"


@dataclass(frozen=True)
class Walk:
    """What a walk came to: how many states there are, how many of them end, and what broke."""

    states: int
    endings: int
    counterexample: Counterexample | None
