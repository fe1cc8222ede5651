"""Puts comparisons' figures into docs/choosing.md: `python -m scripts.choosing DIR DIR`.

Each directory is one where `waybill bench --all-blueprints --out DIR` left its comparison.json: one
on the outboxes, one on Kafka. What stands between the page's marks is replaced, tables and what is
said of them; the rest is not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from scripts.choosing_prose import retold

from waybill.operations.bench.comparison import JSON_NAME, Comparison
from waybill.operations.bench.outage import ROWS as OUTAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.operations.bench.figures import Latency, Measured
    from waybill.operations.bench.results import Results

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "choosing.md"
BEGIN: Final = "<!-- figures: written by scripts/choosing.py -->"
TENTHS_BELOW: Final = 10
END: Final = "<!-- end of the figures -->"

Rows = tuple[tuple[str, "Callable[[Measured], str]"], ...]


def _both(found: Latency) -> str:
    low, high = (
        f"{each:.0f}" if each >= TENTHS_BELOW else f"{each:.1f}" for each in (found.p50, found.p99)
    )
    return f"{low} and {high}"


AT_A_RATE: Final[Rows] = (
    ("POST, p50 and p99, ms", lambda p: _both(p.post)),
    ("POST to the good end, p50 and p99, ms", lambda p: _both(p.confirmed_seen)),
    ("messages an order", lambda p: f"{p.an_order.messages:.0f}"),
    ("commits an order", lambda p: f"{p.an_order.commits:.1f}"),
    ("rows inserted an order", lambda p: f"{p.an_order.rows_inserted:.1f}"),
)


def _cpu(phase: Measured) -> str:
    cost = phase.an_order
    return f"{(cost.python_cpu_microseconds + cost.postgres_cpu_microseconds) / 1000:.1f}"


FLAT_OUT: Final[Rows] = (
    ("accepted a second", lambda p: f"{p.accepted_per_second:,.0f}"),
    ("ended well a second", lambda p: f"{p.confirmed_per_second:,.0f}"),
    ("CPU of Python and PostgreSQL an order, ms", _cpu),
)


def main(arguments: Sequence[str]) -> int:
    """Write the page; the exit status."""
    if not arguments:
        sys.stderr.write(f"{__doc__}")
        return 2
    PAGE.write_text(retold(replaced(PAGE.read_text(), [read(Path(each)) for each in arguments])))
    return 0


def read(directory: Path) -> Comparison:
    """What a comparison left there."""
    return msgspec.json.decode((directory / JSON_NAME).read_bytes(), type=Comparison)


def replaced(page: str, comparisons: Sequence[Comparison]) -> str:
    """The page with these figures in place of those it had."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        message = f"{PAGE} has lost its marks: {BEGIN} and {END}"
        raise ValueError(message)
    told = "\n\n".join(line for comparison in comparisons for line in _told(comparison))
    return f"{before}{BEGIN}\n\n{told}\n\n{END}{after}"


def _told(comparison: Comparison) -> list[str]:
    """Tables, each a paragraph: phases, then the outage."""
    results = list(comparison.blueprints.values())
    first = results[0]
    told = [_headline(comparison, first)]
    for number, phase in enumerate(first.phases):
        measured = [each.phases[number] for each in results]
        head = f"at {phase.rate:g} orders/s"
        if not phase.rate:
            head = f"flat out, {phase.connections} connections"
        shown = AT_A_RATE if phase.rate else FLAT_OUT
        rows = [(title, [show(each) for each in measured]) for title, show in shown]
        told.append(_table(head, comparison, rows))
    outages = [each.outage for each in results if each.outage is not None]
    if len(outages) == len(results):
        head = f"away for {outages[0].seconds:.0f} s"
        rows = [(title, [show(each) for each in outages]) for title, show in OUTAGE_ROWS]
        told.append(_table(head, comparison, rows))
    return told


def _headline(comparison: Comparison, first: Results) -> str:
    where, durability = first.topology.partition(", ")[2], first.durability
    return (
        f"**{where[:1].upper()}{where[1:]}** ({comparison.began[:10]}, {durability.cores} cores, "
        f"PostgreSQL {durability.postgres}, fsync {durability.settings['fsync']}; all audits clean)"
    )


def _table(head: str, comparison: Comparison, rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    names = list(comparison.blueprints)
    lines = [f"| {head} | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [f"| {title} | {' | '.join(values)} |" for title, values in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
