"""Panels and dashboards in Grafana's JSON; every panel says what it shows and in which unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 24
HEIGHT: Final = 8
SCHEMA_VERSION: Final = 39
"""Grafana 11's; an older dashboard is migrated when it is loaded, a newer one is refused."""
PROMETHEUS: Final = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True)
class Panel:
    """`queries` are (expression, legend). `red_above`: from there on it is drawn in red."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    red_above: float | None = None
    red_below: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """One file. `uid` stays for ever: links and home pages name it."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in dashboard.rows:
        if title:
            place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
            panels.append(
                {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
            )
            top += 1
        left = 0
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + HEIGHT
            panels.append(_panel(panel, {"h": HEIGHT, "w": panel.width, "x": left, "y": top}))
            left += panel.width
        top += HEIGHT
    for number, made in enumerate(panels, start=1):
        made["id"] = number
    return {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["waybill"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [SERVICE]},
        "panels": panels,
    }


SERVICE: Final[dict[str, Any]] = {
    "name": "service",
    "label": "Service",
    "type": "query",
    "datasource": PROMETHEUS,
    "query": {"query": "label_values(app_build_info, application)", "refId": "services"},
    "refresh": 2,
    "includeAll": True,
    "allValue": ".+",
    "multi": True,
    "current": {"text": "All", "value": "$__all"},
}


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    if panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if panel.kind == "stat":
        options = {
            "colorMode": "background",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "datasource": PROMETHEUS,
                "expr": expression,
                "legendFormat": legend,
                "refId": chr(ord("A") + number),
            }
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }
