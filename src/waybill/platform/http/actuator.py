"""Operations over HTTP: the documents' /actuator/* and the short names beside them (C28)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from waybill.commerce.http.problem import Problem
from waybill.commerce.http.surface import answers, json_answer, refuses
from waybill.platform.http.health import Health, HealthReport

ReportOf = Callable[[], Awaitable[HealthReport]]


class MetricNames(msgspec.Struct, frozen=True):
    """What /actuator/metrics lists."""

    names: tuple[str, ...]


class Measurement(msgspec.Struct, frozen=True):
    """One figure of a metric, summed over its labels."""

    statistic: str
    value: float


class Tag(msgspec.Struct, frozen=True):
    """A label and the values it has."""

    tag: str
    values: tuple[str, ...]


class MetricReport(msgspec.Struct, frozen=True, rename="camel"):
    """What /actuator/metrics/{name} shows."""

    name: str
    description: str
    base_unit: str
    measurements: tuple[Measurement, ...]
    available_tags: tuple[Tag, ...]


class Links(msgspec.Struct, frozen=True, rename={"links": "_links"}):
    """What /actuator lists, in HAL's shape."""

    links: dict[str, dict[str, str]]


STRUCTS = (HealthReport, MetricNames, MetricReport, Links)

_LINKS = {
    "self": "/actuator",
    "health": "/actuator/health",
    "info": "/actuator/info",
    "metrics": "/actuator/metrics",
    "prometheus": "/actuator/prometheus",
}
_SUFFIXES = {"_count": "COUNT", "_sum": "TOTAL", "_total": "COUNT", "_max": "MAX", "": "VALUE"}


def router(*, health: Health, info: Mapping[str, object], registry: CollectorRegistry) -> APIRouter:
    """All operational routes. They ask for no credentials: they show no data of anybody."""
    routes = APIRouter(tags=["operations"])
    _add_health(routes, health)
    _add_info(routes, info)
    _add_metrics(routes, registry)
    _add_exposition(routes, registry)
    return routes


def _add_health(routes: APIRouter, health: Health) -> None:
    async def liveness() -> HealthReport:
        return health.liveness()

    paths: dict[str, tuple[str, ReportOf]] = {
        "/actuator/health": ("getHealth", health.overall),
        "/actuator/health/liveness": ("getLiveness", liveness),
        "/actuator/health/readiness": ("getReadiness", health.readiness),
        "/health": ("getHealthShort", health.overall),
        "/livez": ("getLivez", liveness),
        "/readyz": ("getReadyz", health.readiness),
    }
    for path, (operation_id, report) in paths.items():
        routes.add_api_route(
            path,
            _reporting(report),
            operation_id=operation_id,
            summary="Whether this service is alive or ready",
            responses={
                **answers(200, HealthReport, "UP"),
                **answers(503, HealthReport, "DOWN, or OUT_OF_SERVICE while it drains"),
            },
        )


def _reporting(report: ReportOf) -> Callable[[], Awaitable[Response]]:
    async def show() -> Response:
        found = await report()
        return json_answer(found, found.http_status)

    return show


def _add_info(routes: APIRouter, info: Mapping[str, object]) -> None:
    async def show_info() -> Response:
        return json_answer(info)

    async def show_links() -> Response:
        return json_answer(Links({name: {"href": path} for name, path in _LINKS.items()}))

    for path, operation_id in (("/actuator/info", "getInfo"), ("/info", "getInfoShort")):
        routes.add_api_route(
            path,
            show_info,
            operation_id=operation_id,
            summary="What is running",
            responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
        )
    routes.add_api_route(
        "/actuator",
        show_links,
        operation_id="getActuator",
        summary="The operational addresses",
        responses=answers(200, Links, "By name"),
    )


def _add_metrics(routes: APIRouter, registry: CollectorRegistry) -> None:
    @routes.get(
        "/actuator/metrics",
        operation_id="listMetrics",
        summary="Names of all metrics",
        responses=answers(200, MetricNames, "Sorted"),
    )
    async def list_metrics() -> Response:
        return json_answer(MetricNames(tuple(sorted({_name(m) for m in registry.collect()}))))

    @routes.get(
        "/actuator/metrics/{name}",
        operation_id="getMetric",
        summary="One metric, summed over its labels",
        responses={
            **answers(200, MetricReport, "The metric"),
            **refuses(_404="There is no such metric"),
        },
    )
    async def get_metric(name: str) -> Response:
        for metric in registry.collect():
            if name == _name(metric):
                return json_answer(_report(metric, name))
        raise Problem(404, "metric_not_found", "There is no such metric")


def _add_exposition(routes: APIRouter, registry: CollectorRegistry) -> None:
    async def expose(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    text: dict[str, Any] = {"schema": {"type": "string"}}
    media = {"text/plain": text, "application/openmetrics-text": text}
    for path, operation_id in (
        ("/actuator/prometheus", "getPrometheus"),
        ("/metrics", "getPrometheusShort"),
    ):
        routes.add_api_route(
            path,
            expose,
            operation_id=operation_id,
            summary="All metrics in Prometheus' text format",
            response_class=Response,
            responses={200: {"description": "By Accept: text, or OpenMetrics", "content": media}},
        )


def _name(metric: Metric) -> str:
    """As it is exposed: the client library cuts a counter's suffix off (defect D21)."""
    name: str = metric.name
    return f"{name}_total" if metric.type == "counter" else name


def _report(metric: Metric, name: str) -> MetricReport:
    figures: dict[str, float] = {}
    tags: dict[str, set[str]] = {}
    for sample in metric.samples:
        statistic = _SUFFIXES.get(sample.name.removeprefix(metric.name))
        if statistic is None:
            continue  # buckets and creation times
        figures[statistic] = figures.get(statistic, 0.0) + sample.value
        for label, value in sample.labels.items():
            tags.setdefault(label, set()).add(value)
    return MetricReport(
        name=name,
        description=metric.documentation,
        base_unit=metric.unit,
        measurements=tuple(Measurement(s, v) for s, v in figures.items()),
        available_tags=tuple(Tag(t, tuple(sorted(values))) for t, values in tags.items()),
    )
