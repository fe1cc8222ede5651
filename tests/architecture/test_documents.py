"""The documents stay true: what they name exists, and what they show is the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMED_TEST = re.compile(r"((?:[a-z_]+/)+test_\w+\.py)::(\w+(?:::\w+)?)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:^\$ |`)waybill ([a-z][a-z-]*)", re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file or a heading of this repository finds it."""
    dead = [link for link in LINK.findall(CODE.sub("", page.read_text())) if not leads(page, link)]
    assert not dead


@pages
def test_every_named_test_exists(page: Path) -> None:
    """A document that says which test shows something names one that is there."""
    named = {
        (file.removeprefix("tests/"), test.rpartition("::")[2])
        for file, test in NAMED_TEST.findall(page.read_text())
    }
    missing = [f"{file}::{test}" for file, test in sorted(named) if not defined(file, test)]
    assert not missing


@pages
def test_every_command_exists(page: Path) -> None:
    """A `waybill` command in a document is one that the command line has."""
    text = (ROOT / "src/waybill/cli.py").read_text()
    known = {name.replace("_", "-") for name in re.findall(r"^def (\w+)\(", text, re.MULTILINE)}
    known |= set(re.findall(r'^    \("([a-z-]+)", \w+\.app\)', text, re.MULTILINE))
    known |= set(re.findall(r'^app\.command\("([a-z-]+)"', text, re.MULTILINE))
    assert set(COMMAND.findall(page.read_text())) <= known


def test_exactly_once_delivery_is_nowhere_claimed() -> None:
    """R298: delivery is at least once, effects are once; the words stand where they are denied."""
    claim = re.compile(r"exactly[- ]once", re.IGNORECASE)
    told = [
        line
        for page in PAGES
        if not page.name.startswith(("requirements", "defects"))
        for line in page.read_text().splitlines()
        if claim.search(line)
    ]
    assert [line.partition(" A ")[0] for line in told] == [
        "- **Exactly-once delivery.** Nobody has it."
    ]


def test_the_way_of_an_order_is_drawn() -> None:
    """R279: in the README, and with the services and the states on the page of the architecture."""
    readme, page = ((ROOT / name).read_text() for name in ("README.md", "docs/architecture.md"))
    assert "```mermaid\nsequenceDiagram" in readme
    drawn = set(re.findall(r"```mermaid\n([\w-]+)", page))
    assert drawn == {"flowchart", "sequenceDiagram", "stateDiagram-v2"}


def test_the_licence_is_mit() -> None:
    """R275: the file, and what the package says of itself."""
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"


def test_the_first_service_shows_the_examples() -> None:
    """Every snippet of the page is a part of an example that the tests run."""
    text = (ROOT / "docs/library/first-service.md").read_text()
    examples = "\n".join(path.read_text() for path in (ROOT / "examples").glob("*.py"))
    snippets = [body for language, body in CODE.findall(text) if language == "python"]
    assert len(snippets) > 5
    assert [snippet for snippet in snippets if snippet.strip("\n") not in examples] == []


def leads(page: Path, link: str) -> bool:
    """Whether a link within the repository has a target."""
    if re.match(r"[a-z]+:", link):
        return True
    file, _, heading = link.partition("#")
    target = page.parent / file if file else page
    return target.exists() and (not heading or heading in headings(target))


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def defined(file: str, test: str) -> bool:
    """Whether the file has this test, or runs a contract suite that has it."""
    path = ROOT / "tests" / file
    if not path.exists():
        return False
    suites = (ROOT / "src/waybill/messaging/testing/contracts").glob("*.py")
    texts = [path.read_text(), *(suite.read_text() for suite in suites)]
    return any(f"def {test}(" in text for text in texts)
