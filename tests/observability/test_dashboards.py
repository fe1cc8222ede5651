"""Dashboards and data sources as files: whole, generated, and of one another's uids."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from scripts.dashboards.__main__ import files
from scripts.dashboards.overview import PLACES, ROUTES
from scripts.kafka.machine import program
from tests.observability.files import DASHBOARDS, INFRA, alerts, dashboards, panels, panels_of

from waybill.blueprints.catalogue import EVERY
from waybill.platform.blueprint_page import endpoints_of

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"s", "short", "ops", "reqps", "bytes", "percentunit"}
KINDS = {"timeseries", "stat"}
SEED_003 = [
    "Request Rate (per service)",
    "Error Rate (5xx)",
    "Latency p50/p95/p99",
    "Orders Created/Confirmed/Cancelled",
    "Outbox Published Total",
    "Payments Processed",
    "Kafka Consumer Lag",
    "Stock Reserved Total",
    "Memory Used",
]
made = pytest.mark.parametrize("name", sorted(dashboards()))


def datasources() -> dict[str, dict[str, Any]]:
    """The provisioned data sources by uid."""
    path = INFRA / "grafana/provisioning/datasources/datasources.yaml"
    return {source["uid"]: source for source in yaml.safe_load(path.read_text())["datasources"]}


def test_files_are_what_the_code_makes() -> None:
    """`python -m scripts.dashboards` was run: nobody edits a dashboard by hand."""
    assert {path.name: path.read_text() for path in DASHBOARDS.iterdir()} == files()


def test_seed_003s_dashboard_is_there_by_its_uid_and_titles() -> None:
    """R230, contracts 1.6; the JVM's heap is a process's memory here."""
    overview = dashboards()["platform-overview"]
    assert overview["uid"] == "platform-overview"
    assert overview["title"] == "Platform Service Overview"
    assert [panel["title"] for panel in panels_of(overview)] == SEED_003


def test_routes_of_every_blueprint_are_looked_at() -> None:
    """Latency, and the alert for it, know each documented path; probes and scrapes are none."""
    (slow,) = [alert for alert in alerts() if alert.name == "AnswersSlow"]
    asked = [slow.expression, *(query for panel in panels() for query in panel.queries)]
    assert {found for text in asked for found in re.findall(r'uri=~"([^"]*)"', text)} == {
        ROUTES,
        PLACES,
    }
    assert ROUTES in slow.expression
    endpoints = [each for blueprint in EVERY.values() for each in endpoints_of(blueprint)]
    assert [path for _, _, path in endpoints if not re.fullmatch(ROUTES, path)] == []
    assert not any(re.fullmatch(ROUTES, path) for path in ("/livez", "/metrics", "/actuator/info"))
    contracts = [blueprint.orders.contract for blueprint in EVERY.values()]
    assert {contract.path for contract in contracts} <= {*PLACES.split("|")}


@made
def test_a_dashboard_can_be_provisioned(name: str) -> None:
    """A fixed uid, no id, panels that have their place, and nothing that overlaps."""
    dashboard = dashboards()[name]
    assert dashboard["uid"] == name
    assert dashboard["id"] is None
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@made
def test_a_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    """No panel without description, unit, legend and a data source that exists."""
    for panel in panels_of(dashboards()[name]):
        assert panel["type"] in KINDS
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        for source in (panel, *panel["targets"]):
            found = datasources()[source["datasource"]["uid"]]
            assert found["type"] == source["datasource"]["type"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["legendFormat"] for target in panel["targets"])


@made
def test_runbook_sections_that_panels_name_are_alerts(name: str) -> None:
    """A panel that sends the reader to the runbook names an alert that has its section."""
    known = {alert.name for alert in alerts()}
    for panel in panels_of(dashboards()[name]):
        _, _, section = panel["description"].partition("Runbook: ")
        assert not section or section.rstrip(".") in known, panel["title"]


def test_every_query_is_promql(tmp_path: Path) -> None:
    """Promtool takes each query as the expression of a rule, Grafana's variables put in."""
    rules = [
        {
            "record": f"panel_{number}",
            "expr": target["expr"].replace("$service", ".+").replace("$__rate_interval", "1m"),
        }
        for number, target in enumerate(
            target
            for dashboard in dashboards().values()
            for panel in panels_of(dashboard)
            for target in panel["targets"]
        )
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_between_data_sources_lead_somewhere() -> None:
    """Defect D22: Tempo's link to metrics named a uid that no data source had."""
    sources = datasources()
    assert set(sources) == {"prometheus", "tempo"}
    links = sources["tempo"]["jsonData"]
    assert links["tracesToMetrics"]["datasourceUid"] in sources
    assert [source["uid"] for source in sources.values() if source.get("isDefault")] == [
        "prometheus"
    ]


def test_provisioning_reads_the_dashboards_folder() -> None:
    """The provider's path is where compose.yaml mounts infra/grafana/dashboards."""
    path = INFRA / "grafana/provisioning/dashboards/dashboards.yaml"
    (provider,) = yaml.safe_load(path.read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert provider["type"] == "file"
