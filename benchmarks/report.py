"""The results: a table for a terminal and for Markdown, and everything as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.pairs import Spread

HUNDRED, TEN = 100, 10


@dataclass(frozen=True)
class Result:
    """One ratio. `spread` is None if there is no number; `notes` say why, and what to know."""

    number: str
    spread: Spread | None
    sides: Mapping[str, Spread] = field(default_factory=dict)
    """The figures behind it, by name; the first one is divided by the second one."""
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    """For the JSON file: sweeps, every figure of every round."""

    @property
    def verdict(self) -> str:
        """How far it gets: moonshot, must, missed or no number."""
        if self.spread is None:
            return "no number"
        return TARGETS[self.number].verdict(self.spread.median)


def figure(number: float) -> str:
    """Three digits or so."""
    if abs(number) >= HUNDRED:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= TEN else f"{number:.3g}"


def shown(spread: Spread, unit: str = "") -> str:
    """Median, with smallest and largest behind it if there are several."""
    text = f"{figure(spread.median)}{unit}"
    if spread.count == 1:
        return text
    return f"{text} ({figure(spread.low)} to {figure(spread.high)}, n={spread.count})"


def markdown(results: Sequence[Result], circumstances: Mapping[str, str]) -> str:
    """The page: the table, what was measured under, and the notes."""
    lines = [
        "| # | ratio | must | moonshot | measured: median (min to max) | reached | sides |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        target = TARGETS[result.number]
        measured = "none" if result.spread is None else shown(result.spread, target.unit)
        sides = "; ".join(f"{name}: {shown(spread)}" for name, spread in result.sides.items())
        lines.append(
            f"| {result.number} | {target.title} | {target.must:g}{target.unit} "
            f"| {target.moonshot:g}{target.unit} | {measured} | {result.verdict} | {sides} |"
        )
    lines += ["", "Measured with: " + ", ".join(f"{k} {v}" for k, v in circumstances.items()) + "."]
    notes = [f"- {result.number}: {note}" for result in results for note in result.notes]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def line(result: Result) -> str:
    """One line for a terminal."""
    target = TARGETS[result.number]
    measured = "no number" if result.spread is None else shown(result.spread, target.unit)
    return (
        f"{result.number:<15} {measured:<34} must {target.must:g}{target.unit}, moonshot "
        f"{target.moonshot:g}{target.unit}: {result.verdict}"
    )


def write(directory: Path, results: Sequence[Result], circumstances: Mapping[str, str]) -> None:
    """ratios.md and ratios.json, written whole; called after each ratio, so that none is lost."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ratios.md").write_text(markdown(results, circumstances))
    content = {
        "circumstances": dict(circumstances),
        "results": [
            {
                **asdict(result),
                "title": TARGETS[result.number].title,
                "must": TARGETS[result.number].must,
                "moonshot": TARGETS[result.number].moonshot,
                "verdict": result.verdict,
            }
            for result in results
        ],
    }
    (directory / "ratios.json").write_text(json.dumps(content, indent=1, default=str) + "\n")
