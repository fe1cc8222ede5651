"""All 313 rows are on the pages of their seeds: shown by a test that exists, decided, or open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OVERVIEW = ROOT / "docs" / "requirements.md"
PAGES = sorted((ROOT / "docs").glob("requirements-s[0-4].md"))
ROWS = 313
COUNTS = {"S0": 35, "S1": 62, "S2": 35, "S3": 100, "S4": 89}
"""How many rows name each seed; eight name more than one."""
NAMED_TEST = re.compile(r"`([a-z_/0-9]+/test_\w+\.py)(?:::(\w+(?:::\w+)?))?`")
ANSWERED = re.compile(r"`[a-z_/0-9]+/test_\w+|\*(open|replaced|decided)\*|\b[CD]\d+\b|\(adr/")
"""A test, a mark, a decision's number or page. Another page is an answer if it has the row."""
ANOTHER = re.compile(r"requirements-s\d\.md")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def numbers(text: str) -> set[int]:
    """Single rows and ranges: `R001, R003-R005`."""
    found: set[int] = set()
    for part in text.split(","):
        first, *last = map(int, re.findall(r"\d+", part))
        found |= {*range(first, last[0] + 1)} if last else {first}
    return found


def rows_of(page: Path) -> dict[int, str]:
    """Each row that the page has, with its line."""
    return {
        number: line
        for line in page.read_text().splitlines()
        if re.match(r"\| R\d", line)
        for number in numbers(line.split("|")[1])
    }


def answers(page: Path, number: int) -> bool:
    """Whether this page itself has an answer to the row."""
    return bool(ANSWERED.search(rows_of(page).get(number, "")))


def seeds() -> dict[str, tuple[set[int], str]]:
    """From the overview: each seed's rows, and where they are."""
    table = re.findall(
        r"^\| (S\d) \|.*\| (R[^|]+) \| ([^|]+) \|$", OVERVIEW.read_text(), re.MULTILINE
    )
    return {seed: (numbers(rows), where) for seed, rows, where in table}


def test_every_row_belongs_to_a_seed() -> None:
    """R001 to R313, none forgotten, none made up."""
    found = seeds()
    assert {seed: len(rows) for seed, (rows, _) in found.items()} == COUNTS
    assert set().union(*(rows for rows, _ in found.values())) == {*range(1, ROWS + 1)}


def test_every_seed_has_a_page() -> None:
    """The overview names it; the rows of one that is not written yet are open."""
    for seed, (_, where) in seeds().items():
        assert f"requirements-{seed.lower()}.md" in where
    assert {"requirements-s1", "requirements-s3"} <= {page.stem for page in PAGES}


@every_page
def test_a_page_has_every_row_of_its_seed(page: Path) -> None:
    """And no row that no document asks for."""
    rows, _ = seeds()[page.stem.rpartition("-")[2].upper()]
    assert rows <= rows_of(page).keys() <= {*range(1, ROWS + 1)}


@every_page
def test_every_row_has_an_answer(page: Path) -> None:
    """A test that shows it, the decision that overrules it, or that it is open."""
    silent = {
        number
        for number, line in rows_of(page).items()
        if not ANSWERED.search(line)
        and not any(answers(page.with_name(name), number) for name in ANOTHER.findall(line))
    }
    assert not silent


@every_page
def test_a_page_that_is_pointed_to_has_the_row(page: Path) -> None:
    """Who follows the link finds it answered there."""
    missing = {
        (number, name)
        for number, line in rows_of(page).items()
        for name in ANOTHER.findall(line)
        if not answers(page.with_name(name), number)
    }
    assert not missing


@every_page
def test_the_tests_that_it_names_exist(page: Path) -> None:
    """A renamed test takes its row with it."""
    named = NAMED_TEST.findall(page.read_text())
    assert len(named) > 10
    for path, name in named:
        text = (ROOT / "tests" / path).read_text()
        if "::" not in name:  # a contract suite's methods are checked with all documents
            assert f"def {name}" in text, (path, name)


def test_every_decision_names_rows_that_there_are() -> None:
    """The table of contradictions."""
    decided = re.findall(r"^\| ([CD]\d[^|]*) \| (R[^|]+) \|", OVERVIEW.read_text(), re.MULTILINE)
    assert len(decided) > 10
    assert set().union(*(numbers(rows) for _, rows in decided)) <= {*range(1, ROWS + 1)}
