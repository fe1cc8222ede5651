"""The states of all actors together, and every step that leads from one to the next.

Messages are a bag: any may come next, come twice, become a dead letter, be redriven or be lost.
States and events are numbered, so that a state of the world is a small tuple, and what an actor
does in one of its own states is computed once.
"""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING, Any, NamedTuple

from waybill.commerce.checker.model import Kind, ViolationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from waybill.commerce.checker.model import Actor, Limits

State = tuple[
    tuple[int, ...],  # the actors' states
    tuple[int, ...],  # messages in flight, sorted
    tuple[int, ...],  # dead letters without a verdict, sorted
    tuple[int, int, int, int],  # what is left of the limits
    bool,  # whether the deadline has passed
]


class World:
    """Some actors and the messages between them.

    `may_lose` says which messages an operator may discard: only those that someone asks for again.
    """

    def __init__(
        self, actors: Sequence[Actor], may_lose: Callable[[str, Any], bool], limits: Limits
    ) -> None:
        self.actors = actors
        self._may_lose = may_lose
        self._limits = limits
        self._values: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._received: dict[tuple[int, int, int, bool], tuple[int, tuple[int, ...]]] = {}
        self._moved: dict[tuple[int, int, bool], list[tuple[str, Kind, int, tuple[int, ...]]]] = {}
        self._routes: dict[int, tuple[int, ...]] = {}
        self._labels: dict[int, _Told] = {}

    def first(self) -> State:
        """Where every path begins."""
        states, flight = [], []
        for actor in self.actors:
            result = actor.start()
            states.append(self._number(result.state))
            flight += [self._number(event) for event in result.events]
        limits = self._limits
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

    def named(self, state: State) -> Mapping[str, Any]:
        """Each actor's own state, by its name."""
        return {
            actor.name: self._values[number]
            for actor, number in zip(self.actors, state[0], strict=True)
        }

    def is_pending(self, state: State) -> bool:
        """Whether something must still happen here: only then is it no end."""
        actors, flight, dead, _, late = state
        if flight or dead:
            return True
        return any(
            kind is not Kind.OPTIONAL
            for i, number in enumerate(actors)
            for _, kind, _, _ in self._moves(i, number, late=late)
        )

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Everything that may happen next, told in words. May raise ViolationError."""
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
            nexts = (*actors[:reader], after, *actors[reader + 1 :])
            yield (
                self._told(message).arrives,
                (
                    nexts,
                    self._with(rest, events) if events else rest,
                    dead,
                    budget,
                    late,
                ),
            )

    def _faults(self, state: State) -> Iterator[tuple[str, State]]:
        actors, flight, dead, (duplicates, letters, losses, early), late = state
        last = -1
        for place, message in enumerate(flight if duplicates or letters else ()):
            if message == last:
                continue
            last = message
            told = self._told(message)
            if duplicates:
                again = (*flight[:place], message, *flight[place:])
                left = (duplicates - 1, letters, losses, early)
                yield told.comes_twice, (actors, again, dead, left, late)
            if letters:
                without = flight[:place] + flight[place + 1 :]
                left = (duplicates, letters - 1, losses, early)
                yield told.is_dead, (actors, without, _with_one(dead, message), left, late)
        for message in sorted(set(dead)):
            told = self._told(message)
            rest = _without(dead, message)
            left = (duplicates, letters, losses, early)
            yield told.is_redriven, (actors, _with_one(flight, message), rest, left, late)
            event, reader = divmod(message, len(self.actors))
            if losses and self._may_lose(self.actors[reader].name, self._values[event]):
                left = (duplicates, letters, losses - 1, early)
                yield told.is_lost, (actors, flight, rest, left, late)

    def _own_moves(self, state: State) -> Iterator[tuple[str, State]]:
        actors, flight, dead, budget, late = state
        quiet = not flight and not dead
        waiting = []
        for i, number in enumerate(actors):
            for label, kind, after, events in self._moves(i, number, late=late):
                quiet = quiet and kind is not Kind.DUE
                nexts = (*actors[:i], after, *actors[i + 1 :])
                bag = self._with(flight, events) if events else flight
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

    def _told(self, message: int) -> _Told:
        known = self._labels.get(message)
        if known is None:
            event, reader = divmod(message, len(self.actors))
            actor, text = self.actors[reader].name, self._text(event)
            name = f"{text} for {actor}"
            known = self._labels[message] = _Told(
                f"{actor} gets {text}",
                f"{name} comes twice, under two ids",
                f"{name} becomes a dead letter",
                f"{name} is redriven",
                f"{name} is discarded, so lost",
            )
        return known


class _Told(NamedTuple):
    """What may happen to a message, in words: made once, for it is said of many states."""

    arrives: str
    comes_twice: str
    is_dead: str
    is_redriven: str
    is_lost: str


def _with_one(bag: tuple[int, ...], message: int) -> tuple[int, ...]:
    place = bisect(bag, message)
    return (*bag[:place], message, *bag[place:])


def _without(bag: tuple[int, ...], message: int) -> tuple[int, ...]:
    place = bag.index(message)
    return bag[:place] + bag[place + 1 :]
