"""What a bench leaves behind: JSON for programs, Markdown and PNG for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.bench import plots
from waybill.operations.bench.backlog import Backlog
from waybill.operations.bench.backlog import rows as backlog_rows
from waybill.operations.bench.burst import Burst
from waybill.operations.bench.burst import rows as burst_rows
from waybill.operations.bench.durability import Durability
from waybill.operations.bench.figures import AnOrder, Latency, Measured, Sample
from waybill.operations.bench.outage import Outage
from waybill.operations.bench.outage import rows as outage_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

JSON_NAME: Final = "bench.json"
TABLE_NAME: Final = "bench.md"


class Results(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Everything that one bench measured. Only a clean audit makes one."""

    waybill: str
    began: str
    command: str
    topology: str
    durability: Durability
    audit: str
    phases: tuple[Measured, ...]
    samples: tuple[Sample, ...]
    outage: Outage | None = None
    """Of a platform of its own, where that was asked for."""
    burst: Burst | None = None
    backlog: Backlog | None = None


def write_results(results: Results, directory: Path) -> list[Path]:
    """Write the files, plots too if matplotlib is there; which."""
    directory.mkdir(parents=True, exist_ok=True)
    json, markdown = directory / JSON_NAME, directory / TABLE_NAME
    json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    drawn = plots.draw(results.phases, results.samples, directory) if plots.available() else []
    markdown.write_text(as_markdown(results, drawn))
    return [json, markdown, *drawn]


def as_markdown(results: Results, drawn: Sequence[Path] = ()) -> str:
    """A page with one table, and the plots that were drawn."""
    phases = results.phases
    lines = [
        f"# {results.topology}",
        "",
        f"`{results.command}`, {results.began}, Waybill {results.waybill}.",
        f"{results.durability.line}; {results.durability.processor}.",
        f"{results.audit}.",
        "",
        f"| | {' | '.join(phase.name for phase in phases)} |",
        f"|---|{'---:|' * len(phases)}",
        *(_row(title, show, phases) for title, show in ROWS),
        "",
        *_more("Many orders at once", burst_rows(results.burst) if results.burst else ()),
        *_more("A backlog", backlog_rows(results.backlog) if results.backlog else ()),
        *_outage(results.outage),
        *(f"![{path.stem}]({path.name})" for path in drawn),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _more(title: str, rows: Sequence[str]) -> list[str]:
    return [f"{title}:", "", "| | |", "|---|---:|", *rows, ""] if rows else []


def _outage(outage: Outage | None) -> list[str]:
    if outage is None:
        return []
    head = [f"{outage.target} away: {outage.audit}.", "", "| | |", "|---|---:|"]
    return [*head, *outage_rows([outage]), ""]


def _row(title: str, show: Callable[[Measured], str], phases: Sequence[Measured]) -> str:
    return f"| {title} | {' | '.join(show(phase) for phase in phases)} |"


def _latency(found: Latency | None) -> str:
    if found is None or not found.samples:
        return "-"
    return " / ".join(f"{value:.1f}" for value in (found.p50, found.p90, found.p99, found.max))


def _polled(phase: Measured) -> str:
    left_out = f" ({phase.left_out_of_poll} left out)" if phase.left_out_of_poll else ""
    return _latency(phase.confirmed_polled) + left_out


def _each(show: Callable[[AnOrder], str]) -> Callable[[Measured], str]:
    return lambda phase: show(phase.an_order)


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:.0f}"


ROWS: Final[Sequence[tuple[str, Callable[[Measured], str]]]] = (
    ("seconds of sending", lambda p: f"{p.seconds:.1f}"),
    ("connections", lambda p: str(p.connections)),
    ("orders accepted", lambda p: str(p.accepted)),
    ("refused, unknown", lambda p: f"{sum(p.refused.values())}, {p.unknown}"),
    ("accepted a second", lambda p: f"{p.accepted_per_second:.0f}"),
    ("**confirmed a second**", lambda p: f"**{p.confirmed_per_second:.0f}**"),
    ("POST, ms: p50 / p90 / p99 / max", lambda p: _latency(p.post)),
    ("POST to CONFIRMED as a subscriber sees it, ms", lambda p: _latency(p.confirmed_seen)),
    ("the same, until it is written (without the COMMIT)", lambda p: _latency(p.confirmed_written)),
    ("the same, by GET, of a sample", _polled),
    ("messages an order", _each(lambda o: f"{o.messages:.2f}")),
    ("statements an order", _each(lambda o: f"{o.statements:.2f}")),
    ("commits an order", _each(lambda o: f"{o.commits:.2f}")),
    ("WAL bytes an order", _each(lambda o: f"{o.wal_bytes:.0f}")),
    ("rows inserted an order", _each(lambda o: f"{o.rows_inserted:.2f}")),
    (
        "rows updated an order (of them HOT)",
        _each(lambda o: f"{o.rows_updated:.2f} ({o.rows_updated_in_place:.2f})"),
    ),
    ("CPU of Python an order, µs", _each(lambda o: f"{o.python_cpu_microseconds:.0f}")),
    ("CPU of PostgreSQL an order, µs", _each(lambda o: f"{o.postgres_cpu_microseconds:.0f}")),
    ("CPU of the bench itself an order, µs", _each(lambda o: f"{o.load_cpu_microseconds:.0f}")),
    ("memory of Python at most, MB", lambda p: _megabytes(p.python_bytes_max)),
    ("memory of PostgreSQL at most, MB", lambda p: _megabytes(p.postgres_bytes_max)),
    ("seconds until nothing was under way", lambda p: f"{p.rest_seconds:.2f}"),
)
