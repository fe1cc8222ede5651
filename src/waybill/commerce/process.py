"""An order's life as data: steps with their facts and undos, and the pure fold over them.

Facts may arrive in any order and any number of times: the status is derived from those seen, each
message is owed once, and a terminal status never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CANCEL_REQUESTED = "CancelRequested"
"""The fact that the customer wants the order to end."""


@dataclass(frozen=True)
class Step:
    """One step: `ask` starts it, `done` or `refused` answers, `undo` takes it back, `undone` ends.

    A refused step holds nothing and never will, and so does an undone one. The steps after it
    are then never started: each is started by the `done` of the one before. `status` is the
    order's once this step and all before it are done (None: unchanged). `refusal` is the reason
    code of a refusal that brings none.

    `called`: an outside call asks, owed in the transaction that places the order (protocol M9), and
    repeats itself; `ask` is then no event but the name of what begins. `afterwards`: the order is
    confirmed before this step is done; its refusal ends a confirmed order (C30). `hosted`: the host
    of the process publishes `ask` once the steps before are done; else they ask the next.
    """

    name: str
    ask: str
    done: str
    refused: str
    refusal: str
    undo: str | None = None
    undone: str | None = None
    status: str | None = None
    outside_effect: bool = True
    called: bool = False
    afterwards: bool = False
    hosted: bool = False


@dataclass(frozen=True)
class Ending:
    """A terminal status and the event that announces it, once; None: nobody is told."""

    status: str
    event: str | None = None


@dataclass(frozen=True)
class Process:
    """Ordered steps and their endings. Refuses, at construction, what could not end balanced."""

    name: str
    steps: tuple[Step, ...]
    initial: str
    confirmed: Ending
    failed: Ending
    lifecycle: Mapping[str, frozenset[str]]
    cancellable: bool = True
    has_deadline: bool = True
    canceled: Ending | None = None
    """How an order ends that its customer cancels; None: as every other failure."""
    late_cancel: bool = False
    """Whether a confirmed order may still be cancelled: its steps are undone then."""
    taken: str | None = None
    """The fact before which nothing is decided: what comes earlier is kept until then."""
    follows: bool = False
    """Whether another service decides: the endings are facts here, and are told by that one."""
    wish: str | None = None
    """How a follower tells whoever decides that the customer wants to cancel (protocol M8)."""

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a process that breaks M1 or leaves its lifecycle."""
        _check_names(self)
        _check_undos(self)
        _check_lifecycle(self)

    @cached_property
    def terminal(self) -> frozenset[str]:
        """The statuses that never change."""
        if self.late_cancel or self.afterwards:
            return self.failures
        return self.failures | {self.confirmed.status}

    @cached_property
    def afterwards(self) -> tuple[Step, ...]:
        """The steps that come after the order was confirmed."""
        return tuple(step for step in self.steps if step.afterwards)

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """Confirmed, failed, and canceled where that is a status of its own."""
        return (self.confirmed, self.failed, *([self.canceled] if self.canceled else []))

    @cached_property
    def failures(self) -> frozenset[str]:
        """The statuses of orders whose steps are undone."""
        return frozenset(ending.status for ending in self.endings[1:])

    @cached_property
    def facts(self) -> frozenset[str]:
        """Every fact that this process understands."""
        names = {name for step in self.steps for name in (step.done, step.refused, step.undone)}
        cancel = {CANCEL_REQUESTED} if self.cancellable else set[str]()
        return frozenset(name for name in names | cancel if name)

    def is_terminal(self, status: str) -> bool:
        """Whether `status` never changes."""
        return status in self.terminal

    def has_ended(self, progress: Progress) -> bool:
        """Whether nothing but a late cancel changes the status any more."""
        if progress.status == self.confirmed.status:
            return all(step.done in progress.facts for step in self.afterwards)
        return progress.status in self.failures

    def failure(self, facts: frozenset[str]) -> Ending:
        """How an order with these facts fails."""
        if self.canceled is not None and CANCEL_REQUESTED in facts:
            return self.canceled
        return self.failed


class Fact(msgspec.Struct, frozen=True):
    """Something that happened to the order, with the reason that a refusal brings."""

    name: str
    reason: str | None = None
    detail: str | None = None


class Progress(msgspec.Struct, frozen=True):
    """What an order has seen. `reason` and `detail` say why it failed."""

    status: str
    facts: frozenset[str] = frozenset()
    reason: str | None = None
    detail: str | None = None


class Advance(msgspec.Struct, frozen=True):
    """The fold of one fact: `edges` are the lifecycle edges passed, `emits` the events now owed."""

    progress: Progress
    edges: tuple[tuple[str, str], ...] = ()
    emits: tuple[str, ...] = ()


def begin(process: Process) -> Progress:
    """An order that has just been placed."""
    return Progress(status=process.initial)


def advance(process: Process, progress: Progress, fact: Fact) -> Advance:
    """Fold one fact. A repeat changes nothing; on a terminal order it may still owe an undo (M5).

    `emits` is owed(after) - owed(before): the failure first, then undos from the last step back.
    Raises PermanentError for a fact that the process does not know.
    """
    if fact.name in progress.facts:
        return Advance(progress)
    if fact.name not in process.facts:
        raise PermanentError(f"{fact.name} is no fact of the process {process.name!r}")
    facts = progress.facts | {fact.name}
    late = process.late_cancel and fact.name == CANCEL_REQUESTED
    if process.is_terminal(progress.status) or (process.has_ended(progress) and not late):
        after = Progress(progress.status, facts, progress.reason, progress.detail)
        return Advance(after, (), _difference(process, progress, after))
    if process.taken is not None and process.taken not in facts:
        after = _kept(process, progress, facts, fact)
        return Advance(after, (), _difference(process, progress, after))
    refused = _refused_by(process, progress, facts)
    if refused is not None:
        why = fact if fact.reason else progress  # what was kept says it, if this does not
        status = process.failure(facts).status
        passed = [*_statuses_before_the_end(process, progress.status, facts), status]
        after = Progress(status, facts, why.reason or refused, why.detail)
    else:
        passed = _statuses_to(process, progress.status, facts)
        after = Progress(passed[-1], facts)
    return Advance(after, tuple(pairwise(passed)), _difference(process, progress, after))


def owed(process: Process, progress: Progress) -> tuple[str, ...]:
    """Every event that the facts seen so far call for and no fact has answered yet."""
    if process.follows:
        wishes = CANCEL_REQUESTED in progress.facts and not process.has_ended(progress)
        return (process.wish,) if process.wish and wishes else ()
    if progress.status == process.confirmed.status:
        return _told(process.confirmed)
    if progress.status in process.failures:
        ending = next(each for each in process.endings if each.status == progress.status)
        # What the host asks itself, nobody else takes back or answers: it may be asked already.
        asked = {step.undo for step in process.steps if step.hosted}
        asked &= {*_undos_unanswered(process, progress.facts)}
        undos = tuple(
            step.undo
            for step in reversed(process.steps)
            if step.undo
            and step.undone not in progress.facts
            and (step.done in progress.facts or step.undo in asked)
        )
        return (*_told(ending), *undos)
    return tuple(step.ask for step in _begun(process, progress.facts) if step.hosted)


def _told(ending: Ending) -> tuple[str, ...]:
    return (ending.event,) if ending.event else ()


def settled(process: Process, progress: Progress) -> bool:
    """Whether no answer is outstanding: until then a terminal order stays armed (M5)."""
    return process.has_ended(progress) and not unanswered(process, progress)


def unanswered(process: Process, progress: Progress) -> tuple[str, ...]:
    """What to ask again, with a new id, when the deadline is over (M3); empty once settled.

    Open order: what starts its first unanswered step. Failed order: the undo of every step
    that may hold something, or may yet come to hold it: an undo leaves a tombstone (M4). A call
    that is owed repeats itself.
    """
    if progress.status in process.failures:
        return tuple(reversed([*_undos_unanswered(process, progress.facts)]))
    if process.has_ended(progress):
        return ()
    for step in process.steps:
        if step.done not in progress.facts:
            if step.called:
                return ()
            return (step.ask, *(owed(process, progress) if process.follows else ()))
    return ()


def may_cancel(process: Process, progress: Progress) -> bool:
    """Whether a cancel request is a fact to fold; False: too late, the caller gets a 409 (P8)."""
    late = progress.status == process.confirmed.status
    return process.cancellable and (process.late_cancel or not late)


def _difference(process: Process, before: Progress, after: Progress) -> tuple[str, ...]:
    already = owed(process, before)
    return tuple(name for name in owed(process, after) if name not in already)


def _kept(process: Process, progress: Progress, facts: frozenset[str], fact: Fact) -> Progress:
    """Nothing is decided yet, but why it will be refused is not forgotten."""
    if process.follows or progress.reason:
        return Progress(progress.status, facts, progress.reason, progress.detail)
    return Progress(progress.status, facts, fact.reason, fact.detail)


def _begun(process: Process, facts: frozenset[str]) -> Iterator[Step]:
    """The steps whose turn it is or was: those before them are done."""
    for step in process.steps:
        yield step
        if step.done not in facts:
            return


def _refused_by(process: Process, progress: Progress, facts: frozenset[str]) -> str | None:
    if CANCEL_REQUESTED in facts and not process.follows:
        return "customer_cancelled"
    # What confirmed the order is done, whatever is told of it late: only what follows may fail it.
    confirmed = progress.status == process.confirmed.status
    for step in process.afterwards if confirmed else process.steps:
        if step.refused in facts or step.undone in facts:
            return step.refusal
    return None


def _statuses_to(process: Process, status: str, facts: frozenset[str]) -> list[str]:
    """The statuses from `status` to where the facts lead, without a gap (contracts C40)."""
    chain = [process.initial]
    for step in process.steps:
        if step.afterwards:
            continue
        if step.done not in facts:
            break
        if step.status and step.status != chain[-1]:
            chain.append(step.status)
    else:
        chain.append(process.confirmed.status)
    return chain[chain.index(status) :]


def _statuses_before_the_end(process: Process, status: str, facts: frozenset[str]) -> Sequence[str]:
    """A failure is told in the status where the order stands, unless much was kept until now."""
    if process.taken is None:
        return [status]
    passed = _statuses_to(process, status, facts)
    return [each for each in passed if each != process.confirmed.status]


def _undos_unanswered(process: Process, facts: frozenset[str]) -> Iterator[str]:
    for step in process.steps:
        if step.undone in facts:
            continue
        if step.refused in facts and step.done not in facts:
            return
        if step.undo:
            yield step.undo


def _check_names(process: Process) -> None:
    names = [
        name
        for step in process.steps
        for name in (step.done, step.refused, step.undone, step.undo)
        if name
    ]
    if not process.follows:  # to a follower they are facts
        names += [name for ending in process.endings for name in _told(ending)]
    names.append(CANCEL_REQUESTED)
    if not process.steps or len(names) != len(set(names)):
        raise ConfigurationError(
            f"process {process.name!r}: it needs a step, and each fact, undo and ending a name of "
            "its own"
        )
    order = [step.afterwards for step in process.steps]
    if order[0] or order != sorted(order):
        raise ConfigurationError(
            f"process {process.name!r}: steps that follow the confirmation come last, and behind "
            "others"
        )


def _check_undos(process: Process) -> None:
    for step in process.steps:
        if (step.undo is None) != (step.undone is None):
            raise ConfigurationError(
                f"process {process.name!r}: step {step.name!r} needs both undo and undone, or none"
            )
        # Who is confirmed can be cancelled late or not at all; the deadline only asks.
        endable = (process.cancellable or process.has_deadline) and not step.afterwards
        breakable = endable or process.late_cancel or step is not process.steps[-1]
        if step.outside_effect and step.undo is None and breakable:
            raise ConfigurationError(
                f"process {process.name!r}: step {step.name!r} acts outside the order, so it needs "
                "an undo: a cancel, the deadline or a later refusal may come after it (protocol M1)"
            )


def _check_lifecycle(process: Process) -> None:
    chain = [process.initial, *(step.status for step in process.steps if step.status)]
    whole = pairwise([*chain, process.confirmed.status])
    edges = [(here, there) for here, there in whole if here != there]
    decided = chain[1:] if process.taken else chain
    edges += [(status, failure) for status in decided for failure in sorted(process.failures)]
    if process.late_cancel:
        canceled = process.canceled or process.failed
        edges.append((process.confirmed.status, canceled.status))
    if process.afterwards:
        edges.append((process.confirmed.status, process.failed.status))
    for here, there in edges:
        if there not in process.lifecycle.get(here, ()):
            raise ConfigurationError(
                f"process {process.name!r}: its steps lead from {here} to {there}, "
                "which its lifecycle does not allow"
            )
    for status in process.terminal:
        if process.lifecycle.get(status):
            raise ConfigurationError(
                f"process {process.name!r}: {status} is terminal, so no edge may leave it"
            )
