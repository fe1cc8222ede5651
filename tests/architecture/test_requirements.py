"""The page of seed 001's requirements has every row of it, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "requirements-s1.md"
SINGLE = "3 4 5 25 29 69 70 71 72 73 74 75 97 98 99 104 105 119 123 124 125 137 138 139 149 150 164"
MORE = "171 172 201 207 208 213 219 220 236 244 245 246 259 260 261 276 277 278 299 300"
ROWS = {
    *map(int, f"{SINGLE} {MORE}".split()),
    *range(35, 41),
    *range(64, 69),
    *range(100, 104),
}
"""The numbers of the rows that name seed 001."""


def rows_of_the_page() -> set[int]:
    """The first column: single numbers and ranges."""
    found: set[int] = set()
    for line in PAGE.read_text().splitlines():
        if not re.match(r"\| R\d", line):
            continue
        for part in line.split("|")[1].split(","):
            first, *last = map(int, re.findall(r"\d+", part))
            found |= {first, *range(first, *(each + 1 for each in last))} if last else {first}
    return found


def test_every_row_is_there() -> None:
    """None is forgotten, none is made up."""
    assert rows_of_the_page() == ROWS


def test_the_tests_that_it_names_exist() -> None:
    """A renamed test takes its row with it."""
    named = re.findall(r"`([a-z_/]+/test_\w+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 25
    for path, name in named:
        assert f"def {name}" in (ROOT / "tests" / path).read_text(), (path, name)
