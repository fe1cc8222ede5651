"""The pages of seeds 000 and 001 have every row of theirs, and the tests that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SINGLE = "3 4 5 25 29 69 70 71 72 73 74 75 97 98 99 104 105 119 123 124 125 137 138 139 149 150 164"
MORE = "171 172 201 207 208 213 219 220 236 244 245 246 259 260 261 276 277 278 299 300"
ROWS = {
    *map(int, f"{SINGLE} {MORE}".split()),
    *range(35, 41),
    *range(64, 69),
    *range(100, 104),
}
"""The numbers of the rows that name seed 001."""

SINGLE_000 = "1 2 24 96 206 258 119 120 121 122 199 200"
ROWS_000 = {
    *map(int, SINGLE_000.split()),
    *range(31, 35),
    *range(61, 64),
    *range(165, 171),
    *range(184, 188),
    *range(284, 290),
}
PAGES = {"requirements-s0.md": ROWS_000, "requirements-s1.md": ROWS}
every_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: str) -> str:
    """As it stands."""
    return (ROOT / "docs" / page).read_text()


def rows_of(page: str) -> set[int]:
    """The first column: single numbers and ranges."""
    found: set[int] = set()
    for line in text_of(page).splitlines():
        if not re.match(r"\| R\d", line):
            continue
        for part in line.split("|")[1].split(","):
            first, *last = map(int, re.findall(r"\d+", part))
            found |= {first, *range(first, *(each + 1 for each in last))} if last else {first}
    return found


@every_page
def test_every_row_is_there(page: str) -> None:
    """None is forgotten, none is made up."""
    assert rows_of(page) == PAGES[page]


@every_page
def test_the_tests_that_it_names_exist(page: str) -> None:
    """A renamed test takes its row with it."""
    named = re.findall(r"`([a-z_/]+/test_\w+\.py)(?:::(\w+))?`", text_of(page))
    assert len(named) > 25
    for path, name in named:
        assert f"def {name}" in (ROOT / "tests" / path).read_text(), (path, name)
