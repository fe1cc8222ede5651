"""A rule: one invariant, where it is looked at, and what to look at when it does not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waybill.operations.audit.history_index import HistoryIndex
    from waybill.operations.audit.scope import Need, Scope
    from waybill.operations.audit.snapshot import Reading
    from waybill.operations.audit.topic_index import TopicIndex


class Kind(Enum):
    """When a rule holds (protocol A1)."""

    ALWAYS = "A"
    """At every instant, under load and during faults too: in one snapshot of one database."""
    QUIESCENT = "Q"
    """Once nothing is under way; it may compare databases."""
    HISTORY = "H"
    """Against what a client was told."""


@dataclass(frozen=True)
class Books:
    """The snapshots of one run, all open, and what else rules need."""

    scope: Scope
    readings: Mapping[str, Reading]
    waiting: frozenset[str] = frozenset()
    """Orders that a parked delivery or an open dead letter names: they wait for an operator."""
    reported: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    """What sources knew of (consumer, source) before the snapshots were taken: positions."""
    history: HistoryIndex | None = None
    topics: TopicIndex | None = None
    """What brokers told, if they were named."""

    def stream(self, database: str, statement: str, *arguments: object) -> AsyncIterator[Found]:
        """Rows of a statement in one database's snapshot."""
        return self.readings[self.scope.home(database)].stream(statement, *arguments)


Found = Mapping[str, Any]
"""A row that breaks a rule, by column."""

Look = Callable[[Books, str], AsyncIterator[Found]]
"""Reads one database (named) of the books; every row that it gives is a violation."""

Compare = Callable[[Books], AsyncIterator[Found]]
"""Reads several."""


def statement(
    text: str, arguments: Callable[[Books, str], Iterable[object]] = lambda _books, _database: ()
) -> Look:
    """A look that is one SQL statement; its arguments come from the books and the database."""

    def look(books: Books, database: str) -> AsyncIterator[Found]:
        return books.stream(database, text, *arguments(books, database))

    return look


def one_after_another(*looks: Look) -> Look:
    """A look that gives what several give."""

    async def look(books: Books, database: str) -> AsyncIterator[Found]:
        for each in looks:
            async for found in each(books, database):
                yield found

    return look


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One of promises I01 to I45. A rule of kind A has no `compare`.

    `look_at` is a command that shows an operator more; it may name columns of a row in braces.
    """

    id: str
    kind: Kind
    title: str
    needs: frozenset[Need] = frozenset()
    looks: Mapping[str, Look] = field(default_factory=dict)
    compare: Compare | None = None
    look_at: str = ""

    def looks_in(self, scope: Scope) -> Mapping[str, Look]:
        """Its looks by the databases that hold the books; a database is looked at once."""
        moved = {scope.home(name): look for name, look in self.looks.items()}
        return moved | {n: look for n, look in self.looks.items() if scope.home(n) == n}

    @property
    def where(self) -> tuple[str, ...]:
        """The databases of its looks."""
        return tuple(self.looks)
