"""Operations: health and its groups, info, metrics, by the documents' names and the short ones."""

from __future__ import annotations

import asyncio

import pytest
from tests.http.edge_memory import make_edge

from waybill.messaging.core.errors import TransientError
from waybill.platform.http import health

READINESS = ["/actuator/health", "/actuator/health/readiness", "/health", "/readyz"]
LIVENESS = ["/actuator/health/liveness", "/livez"]


async def _down() -> health.Component:
    raise TransientError("host=10.0.0.1 password=secret refused")


async def _hangs() -> health.Component:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("path", [*READINESS, *LIVENESS])
async def test_a_healthy_service_is_up(path: str) -> None:
    """Contracts 1.2: 200 with status UP."""
    async with make_edge().client() as client:
        response = await client.get(path)
    assert (response.status_code, response.json()["status"]) == (200, "UP")


@pytest.mark.parametrize("path", READINESS)
async def test_a_dead_database_is_down_and_not_ready(path: str) -> None:
    """Contracts 1.2: 503 with status DOWN; the answer holds nothing of the error's text."""
    edge = make_edge(checks={"db": _down})
    async with edge.client() as client:
        response = await client.get(path)
    report = response.json()
    assert (response.status_code, report["status"]) == (503, "DOWN")
    assert report["components"]["db"] == {
        "status": "DOWN",
        "details": {"error": "TransientError"},
    }


@pytest.mark.parametrize("path", LIVENESS)
async def test_liveness_never_asks_the_database(path: str) -> None:
    """A dead database must not make the orchestrator restart a live process."""
    async with make_edge(checks={"db": _down}).client() as client:
        assert (await client.get(path)).status_code == 200


async def test_a_check_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits on everything: a check has its time."""
    monkeypatch.setattr(health, "CHECK_SECONDS_MAX", 0.01)
    async with make_edge(checks={"db": _hangs}).client() as client:
        response = await client.get("/readyz")
    assert response.json()["components"]["db"]["status"] == "DOWN"


async def test_a_draining_service_is_out_of_service_and_alive() -> None:
    """P11: readiness turns red first; the process goes on living."""
    edge = make_edge()
    edge.health.draining = True
    async with edge.client() as client:
        ready = await client.get("/readyz")
        alive = await client.get("/livez")
    assert (ready.status_code, ready.json()["status"]) == (503, "OUT_OF_SERVICE")
    assert alive.status_code == 200


async def test_health_names_its_groups_and_components() -> None:
    """Defect D31: readiness and liveness groups are on."""
    async with make_edge().client() as client:
        report = (await client.get("/actuator/health")).json()
    assert report["groups"] == ["liveness", "readiness"]
    assert set(report["components"]) == {"livenessState", "readinessState", "db"}


async def test_every_link_of_the_actuator_answers() -> None:
    """Contracts 1.2: health, info, metrics, prometheus."""
    async with make_edge().client() as client:
        links = (await client.get("/actuator")).json()["_links"]
        assert set(links) == {"self", "health", "info", "metrics", "prometheus"}
        for link in links.values():
            assert (await client.get(link["href"])).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/actuator/prometheus"])
async def test_metrics_are_prometheus_text_by_the_documents_names(path: str) -> None:
    """Defect D21: orders_created_total keeps its name; C44: /metrics is Prometheus text."""
    async with make_edge().client() as client:
        text = await client.get(path)
        modern = await client.get(path, headers={"Accept": "application/openmetrics-text"})
    assert 'orders_created_total{application="order-service"} 3.0' in text.text
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


async def test_one_metric_is_shown_as_the_actuator_shows_it() -> None:
    """Contracts 1.2: /actuator/metrics lists names, /actuator/metrics/{name} one of them."""
    async with make_edge().client() as client:
        names = (await client.get("/actuator/metrics")).json()["names"]
        assert names == ["orders_created_total"]
        report = (await client.get("/actuator/metrics/orders_created_total")).json()
        missing = await client.get("/actuator/metrics/none")
    assert report["measurements"] == [{"statistic": "COUNT", "value": 3.0}]
    assert report["availableTags"] == [{"tag": "application", "values": ["order-service"]}]
    assert (missing.status_code, missing.json()["code"]) == (404, "metric_not_found")


@pytest.mark.parametrize("path", ["/info", "/actuator/info"])
async def test_info_says_what_runs(path: str) -> None:
    """Contracts 1.2: /actuator/info."""
    async with make_edge().client() as client:
        assert (await client.get(path)).json() == {"app": {"name": "order-service"}}
