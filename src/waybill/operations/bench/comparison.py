"""The same workload through several blueprints: one table, JSON, and one plot of latencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.bench import outage, plots
from waybill.operations.bench.results import ROWS, Results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

JSON_NAME: Final = "comparison.json"
TABLE_NAME: Final = "comparison.md"


class Comparison(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What each blueprint's own bench measured, by its name. Only clean audits make one."""

    waybill: str
    began: str
    command: str
    blueprints: Mapping[str, Results]


def write_comparison(comparison: Comparison, directory: Path) -> list[Path]:
    """Write the files, the plot too if matplotlib is there; which."""
    directory.mkdir(parents=True, exist_ok=True)
    json, markdown = directory / JSON_NAME, directory / TABLE_NAME
    json.write_bytes(msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n")
    drawn = [plots.draw_comparison(comparison.blueprints, directory)] if plots.available() else []
    markdown.write_text(as_markdown(comparison, drawn))
    return [json, markdown, *drawn]


def as_markdown(comparison: Comparison, drawn: Sequence[Path] = ()) -> str:
    """A page with one table: a column a blueprint, the phases one below the other."""
    names = list(comparison.blueprints)
    first = comparison.blueprints[names[0]]
    lines = [
        "# The blueprints under the same workload",
        "",
        f"`{comparison.command}`, {comparison.began}, Waybill {comparison.waybill}.",
        f"{first.durability.line}; {first.durability.processor}.",
        *(f"{results.topology}: {_audits(results)}." for results in comparison.blueprints.values()),
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    for number, phase in enumerate(first.phases):
        measured = [results.phases[number] for results in comparison.blueprints.values()]
        lines.append(f"| **{phase.name}** |{' |' * len(names)}")
        for title, show in ROWS:
            lines.append(f"| {title} | {' | '.join(show(each) for each in measured)} |")
    away = [each.outage for each in comparison.blueprints.values() if each.outage is not None]
    if len(away) == len(names):
        lines += [f"| **somebody outside is away** |{' |' * len(names)}", *outage.rows(away)]
    lines += ["", *(f"![{path.stem}]({path.name})" for path in drawn)]
    return "\n".join(lines).rstrip() + "\n"


def _audits(results: Results) -> str:
    both = [results.audit, *([results.outage.audit] if results.outage else [])]
    return "; ".join(both)
