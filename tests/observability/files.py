"""What stands in infra/: rules and dashboards as the tests read them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
RULES = INFRA / "prometheus" / "rules"
SERVED = INFRA / "prometheus" / "services"
SERVICES = SERVED / "choreography.yml"
DASHBOARDS = INFRA / "grafana" / "dashboards"
STRING = r'"(?:[^"\\]|\\.)*"'
TOKEN = re.compile(
    rf"(?P<skip>{STRING}|\[[^\]]*\]|\s+)"
    rf"|(?P<matchers>\{{(?:[^}}\"]|{STRING})*\}})"
    r"|(?P<name>[a-zA-Z_:][\w:]*)|(?P<other>[\d.]+|.)"
)
THRESHOLD = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*[\d.]+\s*$")
GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
OPERATORS = frozenset({"unless", "or", "and", "bool"})


@dataclass(frozen=True)
class Alert:
    """One alert rule."""

    name: str
    expression: str
    runbook: str
    severity: str
    kafka: bool
    """Whether its series exist only where events go through Kafka."""
    audit: bool
    """Whether its series are what an audit wrote, not a service."""


@dataclass(frozen=True)
class Panel:
    """One panel with queries."""

    dashboard: str
    title: str
    queries: tuple[str, ...]
    kafka: bool


def alerts() -> Iterator[Alert]:
    """Every alert of every rule file."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield Alert(
                    rule["alert"],
                    rule["expr"],
                    rule["annotations"]["runbook_url"],
                    rule["labels"]["severity"],
                    path.stem == "kafka",
                    path.stem == "audit",
                )


def dashboards() -> dict[str, Any]:
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels, those inside of rows too, rows themselves left out."""
    found: list[dict[str, Any]] = []
    for panel in dashboard["panels"]:
        found += panel["panels"] if panel.get("panels") else [panel]
    return [panel for panel in found if panel["type"] != "row"]


def panels() -> Iterator[Panel]:
    """Every panel of every dashboard."""
    for name, dashboard in dashboards().items():
        for panel in panels_of(dashboard):
            queries = tuple(target["expr"] for target in panel["targets"])
            kafka = "[Kafka]" in panel["title"]
            yield Panel(name, panel["title"], queries, kafka)


def selectors(expression: str) -> set[str]:
    """The series that an expression reads: names with their matchers, without ranges."""
    tokens = [
        (token.lastgroup, token.group())
        for token in TOKEN.finditer(GROUPING.sub(" ", expression))
        if token.lastgroup != "skip"
    ]
    found = set()
    for (kind, text), (following, more) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
        if kind == "name" and text not in OPERATORS and more != "(":
            found.add(text + more if following == "matchers" else text)
    return found


def without_threshold(expression: str) -> str:
    """What an alert looks at, before it is compared: never empty where its series exist."""
    looked_at = re.split(r"\bunless\b", expression)[0]
    return THRESHOLD.sub("", looked_at.strip())
