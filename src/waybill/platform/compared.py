"""`waybill bench --all-blueprints`: the same workload through each, on new data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.operations.bench.comparison import Comparison, as_markdown, write_comparison
from waybill.platform.benchmark import measured

if TYPE_CHECKING:
    from rich.console import Console

    from waybill.operations.bench.results import Results
    from waybill.platform.bench_runs import BenchOptions


def run_comparison(console: Console, options: BenchOptions) -> bool:
    """Measure each, then write. Whether all audits were clean: else nothing is written.

    Raises MessagingError if one could not be measured.
    """
    found: dict[str, Results] = {}
    for name in BLUEPRINTS:
        console.print(f"blueprint {name}", markup=False)
        results = measured(console, replace(options, blueprint=name, is_compared=True))
        if results is None:
            return False
        found[name] = results
    first = next(iter(found.values()))
    comparison = Comparison(
        waybill=first.waybill, began=first.began, command=options.command, blueprints=found
    )
    console.print(as_markdown(comparison), soft_wrap=True, markup=False)
    for path in write_comparison(comparison, options.out):
        console.print(str(path), soft_wrap=True, markup=False)
    return True
