"""docs/audit.md shows the rules that there are."""

from __future__ import annotations

from pathlib import Path

from waybill.operations.audit import matrix_of

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"


def matrix() -> str:
    """The table of the page, out of the rules."""
    lines = ["| | Kind | What it proves | Applies |", "|---|---|---|---|"]
    for rule in matrix_of().rules:
        applies = rule.reason or "yes"
        lines.append(f"| {rule.id} | {rule.kind} | {rule.title} | {applies} |")
    return "\n".join(lines)


def test_the_page_shows_the_matrix() -> None:
    """Every rule with its kind and title, and why it does not apply."""
    assert matrix() in PAGE.read_text()


if __name__ == "__main__":
    print(matrix())  # noqa: T201 - to put into the page
