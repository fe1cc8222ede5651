"""The accounts service does what its OpenAPI document says, over accounts in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.edge.issuer import ISSUER, NOW, Issuer
from tests.http.edge_memory import Responses

from waybill.edge.accounts.accounts import Granted
from waybill.edge.accounts.api import surface
from waybill.edge.accounts.domain import Account
from waybill.messaging.core.identity import new_id
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health

if TYPE_CHECKING:
    from fastapi import FastAPI

EXAMPLES_AN_OPERATION = 8
GRANTED = Granted("a.b.c", 900, "opaque", 86_400)


class Book:
    """An `AccountBook` that knows everybody."""

    async def register(
        self, email: str, password: str, *, address: str, traceparent: str | None = None
    ) -> Account | None:
        assert password
        assert address
        assert traceparent
        return Account(id=new_id(), email=email, roles=("customer",), version=1, created_at=NOW)

    async def log_in(self, email: str, password: str, *, address: str) -> Granted | None:
        assert address
        return GRANTED if email < password else None

    async def refresh(self, token: str) -> Granted | None:
        return GRANTED if len(token) % 2 else None

    async def log_out(self, token: str) -> None:
        assert token

    async def account(self, subject: str) -> Account | None:
        assert subject
        return None

    async def keys(self) -> bytes:
        return Issuer().jwks()


def _application() -> FastAPI:
    parts = HttpParts(
        title="accounts-service",
        version="0.1.0",
        health=Health({}),
        registry=CollectorRegistry(),
        observer=Responses(),
        now=lambda: NOW,
    )
    routes = surface(book=Book(), verifier=Issuer().verifier(), issuer=ISSUER)
    return create_application(routes, parts)


schema = schemathesis.openapi.from_asgi(
    "/api-docs", _application(), config=SchemathesisConfig(seed=20261122)
).include(path_regex="^/(api/|[.]well-known/)")


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
    # JSON Schema does not know what an address is.
    beyond_schema: list[Any] = [positive_data_acceptance] if "json" in str(case.media_type) else []
    case.call_and_validate(excluded_checks=beyond_schema)
