"""Counts what breaks a rule, and keeps the first rows of it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from waybill.operations.audit.report import Outcome, RuleResult, Violation, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from waybill.operations.audit.rule import Books, Found, Rule


class Tally:
    """Counts a rule's violations and keeps the first of them."""

    def __init__(self, rule: Rule, rows_max: int) -> None:
        self._rule = rule
        self._rows_max = rows_max
        self._count = 0
        self._rows: list[Violation] = []
        self._seconds = 0.0

    async def look(self, books: Books, database: str) -> None:
        """Look at one database."""
        await self._take(self._rule.looks_in(books.scope)[database](books, database), database)

    async def compare(self, books: Books) -> None:
        """Compare databases."""
        assert self._rule.compare is not None  # noqa: S101 - the caller saw to it
        await self._take(self._rule.compare(books), None)

    async def _take(self, rows: AsyncIterator[Found], database: str | None) -> None:
        began = time.monotonic()
        async for row in rows:
            self._count += 1
            if len(self._rows) < self._rows_max:
                place = [] if database is None else [("database", database)]
                values = shown([*place, *row.items()])
                self._rows.append(Violation(values, _filled(self._rule, values)))
        self._seconds += time.monotonic() - began

    def result(self) -> RuleResult:
        """What came of it."""
        return rule_result(
            self._rule,
            Outcome.VIOLATED if self._count else Outcome.CLEAN,
            violations=self._count,
            rows=tuple(self._rows),
            seconds=self._seconds,
        )


_MEANT_FOR_A_SHELL = re.compile(r"[^\w.:@ +-]", re.ASCII)


class _Unknown(dict[str, object]):
    """Columns that a row does not have stay in braces."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def _filled(rule: Rule, values: Mapping[str, str | None]) -> str:
    """The command with the row's values. People paste it: a key may be anybody's text."""
    harmless = {name: _MEANT_FOR_A_SHELL.sub("?", text or "") for name, text in values.items()}
    return rule.look_at.format_map(_Unknown(harmless))


def rule_result(
    rule: Rule,
    outcome: Outcome,
    reason: str = "",
    *,
    violations: int = 0,
    rows: tuple[Violation, ...] = (),
    seconds: float = 0.0,
) -> RuleResult:
    """What became of a rule."""
    return RuleResult(
        id=rule.id,
        kind=rule.kind.value,
        title=rule.title,
        outcome=outcome,
        reason=reason,
        databases=rule.where,
        violations=violations,
        rows=rows,
        seconds=seconds,
    )
