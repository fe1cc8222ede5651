"""The walk over every state of a world: complete within its limits, nearest problems first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from waybill.commerce.checker.model import Counterexample, ViolationError, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.checker.world import State, World


def walk(
    world: World, ending: Callable[[Mapping[str, Any]], str | None], *, states_max: int
) -> Walk:
    """Visit every state; a counterexample that comes back is a shortest one.

    `ending` judges a state in which nothing is left to do; None: it is as promised. Raises
    RuntimeError beyond `states_max` states.
    """
    first = world.first()
    index: dict[State, int] = {first: 0}
    came_from: list[tuple[int, str]] = [(-1, "")]
    follows: list[tuple[int, ...]] = []
    queue = deque([first])
    endings = 0
    while queue:
        here = len(follows)
        steps, problem, ends = _seen(world, queue.popleft(), ending)
        endings += ends
        if problem is not None:
            return Walk(len(index), endings, _told(problem, came_from, here))
        nexts: list[int] = []
        for label, after in steps:
            known = index.get(after)
            if known is None:
                known = index[after] = len(came_from)
                came_from.append((here, label))
                queue.append(after)
            nexts.append(known)
        follows.append(tuple(nexts))
        if len(index) > states_max:
            raise RuntimeError(f"more than {states_max} states: lower the limits")
    looping = _on_a_cycle(follows)
    if looping is not None:
        problem = "it never ends: from here it can go round for ever"
        return Walk(len(index), endings, _told(problem, came_from, looping))
    return Walk(len(index), endings, None)


def _seen(
    world: World, state: State, ending: Callable[[Mapping[str, Any]], str | None]
) -> tuple[list[tuple[str, State]], str | None, bool]:
    """The steps from here, what is wrong here, and whether a path may end here."""
    try:
        steps = list(world.steps(state))
    except ViolationError as violation:
        return [], str(violation), False
    if steps and world.is_pending(state):
        return steps, None, False
    return steps, ending(world.named(state)), True


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
    if len(states) == len(blockers):  # all of them, as at first
        counts = dict(enumerate(map(len, blockers)))
    else:
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
