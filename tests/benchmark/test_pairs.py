"""The arithmetic behind the ratios: whose turn it is, and what the figures come to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks.pairs import Budget, Spread, alternate, ratio
from benchmarks.ratios.durable_commits import RAISES
from benchmarks.report import Result, markdown, shown, write
from benchmarks.targets import TARGETS

from waybill.messaging.adapters.postgres.migrations.functions import APPEND

if TYPE_CHECKING:
    from pathlib import Path


class Sides:
    """Two sides that note their turns; each takes a second of a clock that only they move."""

    def __init__(self) -> None:
        self.turns = ""
        self.now = 0.0

    async def one(self) -> str:
        """The first side."""
        return self._turn("a")

    async def other(self) -> str:
        """The second one."""
        return self._turn("b")

    def _turn(self, name: str) -> str:
        self.turns += name
        self.now += 1
        return name


async def test_every_second_round_is_in_the_opposite_order() -> None:
    """A drift of the machine favours no side."""
    sides = Sides()
    found = await alternate(
        {"a": sides.one, "b": sides.other}, 3, Budget(100, clock=lambda: sides.now)
    )
    assert sides.turns == "abbaab"
    assert found == {"a": ["a"] * 3, "b": ["b"] * 3}


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 1), (3.9, 1), (4, 2), (5.9, 2), (6, 3)])
async def test_no_round_is_begun_that_would_not_fit(seconds: float, rounds: int) -> None:
    """The bound of the whole run holds; one round is always made, and none is cut in half."""
    sides = Sides()
    found = await alternate(
        {"a": sides.one, "b": sides.other}, 5, Budget(seconds, clock=lambda: sides.now)
    )
    assert [len(figures) for figures in found.values()] == [rounds, rounds]


def test_a_part_of_a_budget_is_of_what_remains() -> None:
    """A measurement that took too long takes it from those after it."""
    now = 0.0
    budget = Budget(100, clock=lambda: now)
    now = 60.0
    assert budget.part(0.5).left() == 20
    now = 200.0
    assert budget.part(0.5).left() == 0


def test_a_ratio_is_taken_round_by_round() -> None:
    """A slow round slows both sides, and its quotient says so: medians alone would not."""
    upper, lower = [10.0, 40.0, 90.0], [5.0, 10.0, 30.0]
    assert ratio(upper, lower) == Spread(median=3.0, low=2.0, high=4.0, count=3)
    with pytest.raises(ValueError, match="not one round"):
        ratio([], [])


def test_a_verdict_is_by_both_bounds() -> None:
    """Also where less is better, and there is none without a number."""
    reached = [(0.14, "missed"), (0.15, "must"), (0.49, "must"), (0.5, "moonshot")]
    for value, verdict in reached:
        assert Result("R4", Spread.of([value])).verdict == verdict
    assert Result("R13 dead", Spread.of([0])).verdict == "moonshot"
    assert Result("R13 dead", Spread.of([1])).verdict == "missed"
    assert Result("R4", None).verdict == "no number"


def test_the_page_shows_medians_and_what_has_no_number(tmp_path: Path) -> None:
    """Every ratio has its line, with its targets; the JSON file holds the rest."""
    spread = Spread(median=0.2, low=0.1, high=0.3, count=5)
    failed = Result("R7", None, notes=["no number: the audit failed"])
    results = [Result("R4", spread, {"ours": Spread.of([3000.0])}, details={"x": [1]}), failed]
    page = markdown(results, {"fsync": "on"})
    assert "| 0.15x | 0.5x | 0.2x (0.1 to 0.3, n=5) | must | ours: 3,000 |" in page
    assert "| 10x | 30x | none | no number |  |" in page
    assert "- R7: no number: the audit failed" in page
    assert "fsync on" in page
    write(tmp_path, results, {"fsync": "on"})
    kept = json.loads((tmp_path / "ratios.json").read_text())
    assert [result["number"] for result in kept["results"]] == ["R4", "R7"]
    assert kept["results"][0]["details"] == {"x": [1]}
    assert kept["results"][0]["must"] == TARGETS["R4"].must


def test_figures_are_short() -> None:
    """Three digits say enough."""
    assert shown(Spread.of([12345.6])) == "12,346"
    assert shown(Spread.of([12.345]), "x") == "12.3x"
    assert shown(Spread.of([0.98765]), "x") == "0.988x"


def test_the_statement_that_r10_takes_out_is_there() -> None:
    """Protocol O3's statement stands in `outbox_append` once, as the benchmark looks for it."""
    assert APPEND.count(RAISES) == 1
