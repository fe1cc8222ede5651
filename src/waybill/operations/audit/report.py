"""What an audit found: of each rule whether it holds, or why nobody looked."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

CLEAN, VIOLATED, COULD_NOT_RUN = 0, 1, 2
"""Exit statuses."""


class Outcome(StrEnum):
    """What became of a rule."""

    CLEAN = "clean"
    VIOLATED = "violated"
    NOT_RUN = "not run"
    """It applies, but could not be looked at now; `reason` says why."""
    DOES_NOT_APPLY = "does not apply"
    NOT_ASKED = "not asked for"
    APPLIES = "applies"
    """In a matrix, which looks at nothing."""


class Violation(msgspec.Struct, frozen=True, rename="camel"):
    """One row that breaks a rule; values as text, None for NULL."""

    row: dict[str, str | None]
    look_at: str
    """A command that shows more of it."""


class RuleResult(msgspec.Struct, frozen=True, rename="camel"):
    """What became of one rule. `violations` is the true count, `rows` the first of them."""

    id: str
    kind: str
    title: str
    outcome: Outcome
    reason: str = ""
    databases: tuple[str, ...] = ()
    violations: int = 0
    rows: tuple[Violation, ...] = ()
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """The whole audit. `quiescent` is None if no rule needed that."""

    blueprint: str
    rules: tuple[RuleResult, ...]
    quiescent: bool | None
    waiting: dict[str, int]
    """What waits for an operator, by kind: no violation, but somebody's work."""
    seconds: float

    @property
    def violated(self) -> tuple[RuleResult, ...]:
        """The rules that do not hold."""
        return tuple(rule for rule in self.rules if rule.outcome is Outcome.VIOLATED)

    @property
    def not_run(self) -> tuple[RuleResult, ...]:
        """The rules that apply and were asked for, but could not be looked at."""
        return tuple(rule for rule in self.rules if rule.outcome is Outcome.NOT_RUN)

    @property
    def exit_status(self) -> int:
        """0 clean, 1 violated, 2 not everything that was asked for could be looked at."""
        if self.violated:
            return VIOLATED
        return COULD_NOT_RUN if self.not_run else CLEAN

    def told(self) -> str:
        """One line for people."""
        applies = sum(rule.outcome is Outcome.APPLIES for rule in self.rules)
        if applies:
            return f"{applies} of {len(self.rules)} rules apply to {self.blueprint}"
        counts = dict.fromkeys(Outcome, 0)
        for rule in self.rules:
            counts[rule.outcome] += 1
        looked = counts[Outcome.CLEAN] + counts[Outcome.VIOLATED]
        if self.violated:
            names = ", ".join(f"{rule.id} ({rule.violations})" for rule in self.violated)
            return f"audit: VIOLATED: {names}; {looked} rules looked at in {self.seconds:.1f} s"
        if self.not_run:
            reasons = "; ".join(dict.fromkeys(rule.reason for rule in self.not_run))
            return (
                f"audit: not complete: {looked} rules hold, "
                f"{counts[Outcome.NOT_RUN]} could not be looked at: {reasons}"
            )
        return f"audit: clean: {looked} rules hold, in {self.seconds:.1f} s"

    def as_json(self) -> bytes:
        """The shape that docs/audit.md describes."""
        fields = msgspec.to_builtins(self)
        return msgspec.json.encode({"status": _STATUS[self.exit_status], **fields})


_STATUS = {CLEAN: "clean", VIOLATED: "violated", COULD_NOT_RUN: "incomplete"}


def shown(row: Iterable[tuple[str, Any]]) -> dict[str, str | None]:
    """A row's values as text."""
    return {name: None if value is None else str(value) for name, value in row}
