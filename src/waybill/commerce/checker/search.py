"""Walks every interleaving of some actors and the messages between them.

Messages are a bag: any may come next, come twice, become a dead letter, be redriven or be lost.
The walk is complete within its limits, and a counterexample it returns is a shortest one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence


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


State = tuple[
    tuple[int, ...],  # the actors' states
    tuple[int, ...],  # messages in flight, sorted
    tuple[int, ...],  # dead letters without a verdict, sorted
    tuple[int, int, int, int],  # what is left of the limits
    bool,  # whether the deadline has passed
]


@dataclass
class Search:
    """One walk. `ending` judges a state in which nothing is left to do; None: it is as promised.

    `may_lose` says which messages an operator may discard: only those that someone asks for again.
    """

    actors: Sequence[Actor]
    ending: Callable[[Mapping[str, Any]], str | None]
    may_lose: Callable[[str, Any], bool]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Tables that turn states and events into small numbers and back."""
        self._values: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._received: dict[tuple[int, int, int, bool], tuple[int, tuple[int, ...]]] = {}
        self._moved: dict[tuple[int, int, bool], list[tuple[str, Kind, int, tuple[int, ...]]]] = {}
        self._routes: dict[int, tuple[int, ...]] = {}

    def run(self) -> Walk:
        """Visit every state; stop at the first (so the nearest) that breaks a promise."""
        first = self._first()
        index: dict[State, int] = {first: 0}
        came_from: list[tuple[int, str]] = [(-1, "")]
        follows: list[tuple[int, ...]] = []
        queue = deque([first])
        endings = 0
        while queue:
            state = queue.popleft()
            here = len(follows)
            nexts: list[int] = []
            try:
                steps = list(self._steps(state))
            except ViolationError as violation:
                return Walk(len(index), endings, _told(str(violation), came_from, here))
            if not steps or not self._is_pending(state):
                endings += 1
                problem = self.ending(self._named(state))
                if problem:
                    return Walk(len(index), endings, _told(problem, came_from, here))
            for label, after in steps:
                known = index.get(after)
                if known is None:
                    known = index[after] = len(came_from)
                    came_from.append((here, label))
                    queue.append(after)
                nexts.append(known)
            follows.append(tuple(nexts))
            if len(index) > self.limits.states_max:
                raise RuntimeError(f"more than {self.limits.states_max} states: lower the limits")
        looping = _on_a_cycle(follows)
        if looping is not None:
            problem = "it never ends: from here it can go round for ever"
            return Walk(len(index), endings, _told(problem, came_from, looping))
        return Walk(len(index), endings, None)

    def _first(self) -> State:
        states, flight = [], []
        for actor in self.actors:
            result = actor.start()
            states.append(self._number(result.state))
            flight += [self._number(event) for event in result.events]
        limits = self.limits
        budget = (limits.duplicates, limits.dead_letters, limits.losses, limits.early)
        return (tuple(states), self._with((), flight), (), budget, False)

    def _number(self, value: Any) -> int:  # noqa: ANN401 - any state or event
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self._values)
            self._values.append(value)
        return number

    def _with(self, flight: tuple[int, ...], events: Iterable[int]) -> tuple[int, ...]:
        """The bag with one message for each reader of each event."""
        added = [
            event * len(self.actors) + reader for event in events for reader in self._readers(event)
        ]
        return tuple(sorted((*flight, *added))) if added else flight

    def _readers(self, event: int) -> tuple[int, ...]:
        readers = self._routes.get(event)
        if readers is None:
            value = self._values[event]
            readers = tuple(i for i, actor in enumerate(self.actors) if actor.reads(value))
            self._routes[event] = readers
        return readers

    def _named(self, state: State) -> Mapping[str, Any]:
        return {
            actor.name: self._values[number]
            for actor, number in zip(self.actors, state[0], strict=True)
        }

    def _is_pending(self, state: State) -> bool:
        """Whether something must still happen here: only then is it no end."""
        actors, flight, dead, _, late = state
        if flight or dead:
            return True
        return any(
            kind is not Kind.OPTIONAL
            for i, number in enumerate(actors)
            for _, kind, _, _ in self._moves(i, number, late=late)
        )

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._deliveries(state)
        yield from self._faults(state)
        yield from self._own_moves(state)

    def _deliveries(self, state: State) -> Iterator[tuple[str, State]]:
        actors, flight, dead, budget, late = state
        last = -1
        for place, message in enumerate(flight):
            if message == last:
                continue
            last = message
            event, reader = divmod(message, len(self.actors))
            after, events = self._receive(reader, actors[reader], event, late=late)
            rest = flight[:place] + flight[place + 1 :]
            label = f"{self.actors[reader].name} gets {self._text(event)}"
            nexts = (*actors[:reader], after, *actors[reader + 1 :])
            yield label, (nexts, self._with(rest, events), dead, budget, late)

    def _faults(self, state: State) -> Iterator[tuple[str, State]]:
        actors, flight, dead, (duplicates, letters, losses, early), late = state
        for message in sorted(set(flight)):
            name = self._message_text(message)
            without = _without(flight, message)
            if duplicates:
                again = tuple(sorted((*flight, message)))
                left = (duplicates - 1, letters, losses, early)
                yield f"{name} comes twice, under two ids", (actors, again, dead, left, late)
            if letters:
                more = tuple(sorted((*dead, message)))
                left = (duplicates, letters - 1, losses, early)
                yield f"{name} becomes a dead letter", (actors, without, more, left, late)
        for message in sorted(set(dead)):
            name = self._message_text(message)
            rest = _without(dead, message)
            again = tuple(sorted((*flight, message)))
            left = (duplicates, letters, losses, early)
            yield f"{name} is redriven", (actors, again, rest, left, late)
            event, reader = divmod(message, len(self.actors))
            if losses and self.may_lose(self.actors[reader].name, self._values[event]):
                left = (duplicates, letters, losses - 1, early)
                yield f"{name} is discarded, so lost", (actors, flight, rest, left, late)

    def _own_moves(self, state: State) -> Iterator[tuple[str, State]]:
        actors, flight, dead, budget, late = state
        quiet = not flight and not dead
        waiting = []
        for i, number in enumerate(actors):
            for label, kind, after, events in self._moves(i, number, late=late):
                quiet = quiet and kind is not Kind.DUE
                nexts = (*actors[:i], after, *actors[i + 1 :])
                bag = self._with(flight, events)
                if kind is Kind.WHEN_QUIET:
                    waiting.append((label, nexts, bag))
                else:
                    yield label, (nexts, bag, dead, budget, late)
        if not late:
            yield "the deadline passes", (actors, flight, dead, budget, True)
        for label, nexts, bag in waiting:
            if quiet and late:
                yield label, (nexts, bag, dead, budget, late)
            elif budget[3]:
                yield f"{label}, early", (nexts, bag, dead, (*budget[:3], budget[3] - 1), late)

    def _receive(
        self, reader: int, number: int, event: int, *, late: bool
    ) -> tuple[int, tuple[int, ...]]:
        key = (reader, number, event, late)
        known = self._received.get(key)
        if known is None:
            actor = self.actors[reader]
            try:
                result = actor.receive(self._values[number], self._values[event], late=late)
            except ViolationError as violation:
                problem = f"{actor.name} gets {self._text(event)}: {violation}"
                raise ViolationError(problem) from None
            known = (self._number(result.state), tuple(map(self._number, result.events)))
            self._received[key] = known
        return known

    def _moves(
        self, i: int, number: int, *, late: bool
    ) -> list[tuple[str, Kind, int, tuple[int, ...]]]:
        key = (i, number, late)
        known = self._moved.get(key)
        if known is None:
            known = [
                (
                    f"{self.actors[i].name}: {move.label}",
                    move.kind,
                    self._number(move.result.state),
                    tuple(map(self._number, move.result.events)),
                )
                for move in self.actors[i].moves(self._values[number], late=late)
            ]
            self._moved[key] = known
        return known

    def _text(self, event: int) -> str:
        value = self._values[event]
        reason = getattr(value, "reason", None)
        return type(value).__name__ + (f" ({reason})" if reason else "")

    def _message_text(self, message: int) -> str:
        event, reader = divmod(message, len(self.actors))
        return f"{self._text(event)} for {self.actors[reader].name}"


def _without(bag: tuple[int, ...], message: int) -> tuple[int, ...]:
    place = bag.index(message)
    return bag[:place] + bag[place + 1 :]


def _told(problem: str, came_from: list[tuple[int, str]], here: int) -> Counterexample:
    path: list[str] = []
    while here > 0:
        here, label = came_from[here]
        path.append(label)
    return Counterexample(problem, tuple(reversed(path)))


def _on_a_cycle(follows: list[tuple[int, ...]]) -> int | None:
    """The nearest state that lies on a cycle, or between two; None if every path ends.

    Takes away, again and again, what nothing enters and what leads nowhere (Kahn's algorithm).
    """
    enters: list[list[int]] = [[] for _ in follows]
    for state, nexts in enumerate(follows):
        for after in nexts:
            enters[after].append(state)
    left = _peeled(set(range(len(follows))), enters, follows)
    left = _peeled(left, follows, enters)
    return min(left, default=None)


def _peeled(
    states: set[int], blockers: Sequence[Sequence[int]], blocked: Sequence[Sequence[int]]
) -> set[int]:
    """What remains of `states` when those without a blocker among them are taken away."""
    counts = {state: sum(1 for other in blockers[state] if other in states) for state in states}
    free = [state for state, count in counts.items() if not count]
    left = set(states)
    while free:
        state = free.pop()
        left.discard(state)
        for other in blocked[state]:
            if other in left:
                counts[other] -= 1
                if not counts[other]:
                    free.append(other)
    return left
