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
DECISION = re.compile(r"\b[CD]\d+\b")
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
    line = rows_of(page).get(number)
    return line is not None and is_answer(number, line)


def is_answer(number: int, line: str) -> bool:
    """A test that shows it, or that it is open. Another page is one if it has the row.

    Where no code of ours is named: also what replaces it, an ADR, or a decision that the overview
    lists for this very row. Other decisions say how it is, and nothing of whether it is so.
    """
    where, shown = line.split("|")[3:5]
    if NAMED_TEST.search(shown) or "*open*" in where:
        return True
    decided = "*decided*" in where and any(
        number in rows for name, rows in decisions() if name in DECISION.findall(where)
    )
    return "`" not in where and (decided or "*replaced*" in where or "(adr/" in where)


def decisions() -> list[tuple[str, set[int]]]:
    """The table of contradictions: each decision and the rows that it is for."""
    table = re.findall(r"^\| ([CD]\d[^|]*) \| (R[^|]+) \|", OVERVIEW.read_text(), re.MULTILINE)
    return [
        (f"{letter}{number}", numbers(rows))
        for names, rows in table
        for letter in names[0]
        for number in sorted(numbers(names))
    ]


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
        if not is_answer(number, line)
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
    decided = decisions()
    assert len(decided) > 20
    assert set().union(*(rows for _, rows in decided)) <= {*range(1, ROWS + 1)}


@pytest.mark.parametrize(
    ("line", "answered"),
    [
        ("| R036 | a | `code` (C5) | `kafka/test_cdc.py` |", True),
        ("| R036 | a | *open*: later | |", True),
        ("| R036 | a | *replaced*: another tool | |", True),
        ("| R036 | a | *replaced*: another tool (`code.py`) | |", False),
        ("| R036 | a | `code` (C5) | |", False),
        ("| R036 | a | *decided*: `code` (C5) | |", False),
        ("| R036 | a | never (C5) | |", False),
        ("| R036 | a | *decided*: never (C5) | |", True),
        ("| R036 | a | *decided*: never (C13) | |", False),
        ("| R036 | a | *decided*: never (C99) | |", False),
        ("| R036 | `kafka/test_cdc.py` | [adr/](adr/README.md) `code` | none |", False),
    ],
)
def test_a_row_that_lost_its_test_is_seen(line: str, *, answered: bool) -> None:
    """Numbers of decisions stand in many rows: they are no answer by themselves."""
    assert is_answer(36, line) is answered
