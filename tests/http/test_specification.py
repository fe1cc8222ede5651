"""The OpenAPI document: complete, stable, true; and its page needs nothing from outside."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.routing import Route
from tests.http.edge_memory import make_edge

EXAMPLES_AN_OPERATION = 15


async def _document() -> dict[str, Any]:
    async with make_edge().client() as client:
        response = await client.get("/api-docs")
        document: dict[str, Any] = response.json()
        return document


async def test_every_served_route_is_in_the_document() -> None:
    """API9: nothing is served that is not documented, and the other way round."""
    served = {
        (method, route.path_format)
        for route in make_edge().application.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    document = await _document()
    documented = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert served == documented
    assert len(served) == len(make_edge().application.routes)


async def test_operation_ids_are_stable() -> None:
    """Conventions 1.4: clients are generated from these names: changing one breaks them."""
    document = await _document()
    ids = sorted(
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    )
    assert ids == [
        "cancelOrder",
        "changeProduct",
        "createProduct",
        "eraseContact",
        "getActuator",
        "getApiDocs",
        "getContact",
        "getHealth",
        "getHealthShort",
        "getInfo",
        "getInfoShort",
        "getLiveness",
        "getLivez",
        "getMetric",
        "getOrder",
        "getOrderTimeline",
        "getProduct",
        "getPrometheus",
        "getPrometheusShort",
        "getReadiness",
        "getReadyz",
        "getSwaggerUi",
        "getSwaggerUiFile",
        "listMetrics",
        "listNotifications",
        "listOrders",
        "listPayments",
        "listProducts",
        "placeOrder",
        "putContact",
    ]


async def test_every_error_is_documented_as_a_problem() -> None:
    """Conventions 1.4: every 4xx and 5xx has the problem schema; traceparent is a parameter."""
    document = await _document()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "traceparent" in [p["name"] for p in operation["parameters"]]
            for status, answer in operation["responses"].items():
                if status >= "400" and not (
                    status == "503" and operation["tags"] == ["operations"]
                ):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
    place = document["paths"]["/api/orders"]["post"]
    assert "Idempotency-Key" in [p["name"] for p in place["parameters"]]
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_the_documented_page_redirects_and_its_files_are_ours() -> None:
    """Contracts 1.2: /swagger-ui.html is 302; no outside address."""
    async with make_edge().client() as client:
        redirect = await client.get("/swagger-ui.html")
        assert (redirect.status_code, redirect.headers["location"]) == (
            302,
            "/swagger-ui/index.html",
        )
        page = await client.get("/swagger-ui/index.html")
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "connect-src 'self'" in policy
        assert "http" not in policy
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 5
        for name in loaded:
            assert (await client.get(f"/swagger-ui/{name}")).status_code == 200, name
        start = (await client.get("/swagger-ui/swagger-initializer.js")).text
        assert "http" not in start
        for name in ("none.js", "LICENSE", "..%2Fswagger.py", "%2e%2e"):
            assert (await client.get(f"/swagger-ui/{name}")).status_code == 404


def test_the_vendored_files_come_with_their_licence() -> None:
    """Apache-2.0 asks for LICENSE and NOTICE beside the files."""
    files = resources.files("waybill.platform.http") / "swagger_ui"
    assert "Apache License" in (files / "LICENSE").read_text()
    assert "SmartBear" in (files / "NOTICE").read_text()


schema = schemathesis.openapi.from_asgi(
    "/api-docs", make_edge().application, config=SchemathesisConfig(seed=20261121)
)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_AN_OPERATION,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_service_does_what_the_document_says(case: schemathesis.Case[Any]) -> None:
    """API9: generated requests, valid and not: no 5xx, documented statuses, types and bodies."""
    # To JSON Schema 2.0 is an integer, to us it is not (C35); nor does it know a total's limit.
    beyond_schema: list[Any] = [positive_data_acceptance] if "json" in str(case.media_type) else []
    case.call_and_validate(excluded_checks=beyond_schema)
