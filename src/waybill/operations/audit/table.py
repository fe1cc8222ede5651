"""An audit for people: a table of rules, then each violation with its rows and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from waybill.operations.audit.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from waybill.operations.audit.report import Report, RuleResult

_STYLES = {Outcome.CLEAN: "green", Outcome.VIOLATED: "bold red", Outcome.NOT_RUN: "yellow"}
VALUE_LENGTH_MAX = 120


def show_report(report: Report, console: Console) -> None:
    """The whole report."""
    console.print(matrix(report.rules))
    for rule in report.violated:
        _violations(rule, console)
    if report.waiting:
        told = ", ".join(f"{count} {what}" for what, count in report.waiting.items())
        console.print(Text(f"\nwaits for an operator: {told}"), soft_wrap=True)
    console.print(Text(f"\n{report.told()}"), soft_wrap=True)


def matrix(rules: Iterable[RuleResult]) -> Table:
    """Which rules apply to the blueprint, what they say, and what came of them."""
    table = Table(box=None, pad_edge=False)
    for title in ("rule", "kind", "outcome", "what it proves", "s"):
        table.add_column(title, justify="right" if title == "s" else "left")
    for rule in rules:
        told = rule.title if not rule.reason else f"{rule.title} ({rule.reason})"
        outcome = rule.outcome.value
        if rule.violations:
            outcome = f"{outcome} ({rule.violations})"
        seconds = f"{rule.seconds:.2f}" if rule.seconds else ""
        style = _STYLES.get(rule.outcome, "dim")
        table.add_row(rule.id, rule.kind, Text(outcome, style), Text(told), seconds)
    return table


def _violations(rule: RuleResult, console: Console) -> None:
    console.print(Text(f"\n{rule.id} {rule.title}: {rule.violations} violations", "bold red"))
    for violation in rule.rows:
        values = (f"{name}={_clipped(value)}" for name, value in violation.row.items())
        console.print(Text("  " + "  ".join(values)), soft_wrap=True)
    if rule.violations > len(rule.rows):
        console.print(Text(f"  and {rule.violations - len(rule.rows)} more (see --rows)"))
    if rule.rows and rule.rows[0].look_at:
        console.print(Text(f"  look at: {rule.rows[0].look_at}"), soft_wrap=True)


def _clipped(value: str | None) -> str:
    if value is None:
        return "NULL"
    kept = value if len(value) <= VALUE_LENGTH_MAX else value[: VALUE_LENGTH_MAX - 1] + "…"
    return "".join(sign if sign.isprintable() else "?" for sign in kept)
