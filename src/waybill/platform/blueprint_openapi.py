"""One OpenAPI 3.1 document of a blueprint: what its services answer, each at its own address.

What every service answers besides (health, metrics, its own document) is in its /api-docs.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.http import openapi
from waybill.platform.services import plans_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint

PORT_BASE: int = Settings.model_fields["port_base"].default


def document(blueprint: Blueprint) -> dict[str, Any]:
    """The whole document. Raises ConfigurationError if two services answer at one path."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for plan in plans_of(blueprint).values():
        # The routes alone are asked for: what they would work with is never touched.
        surface = plan.surface(blueprint)
        one = openapi.document(
            title=plan.name,
            version="",
            description="",
            routes=surface.routes,
            hot=surface.hot,
            structs=surface.structs,
        )
        url = f"http://127.0.0.1:{PORT_BASE + plan.port_offset}"
        for path, operations in one["paths"].items():
            if path in paths:
                raise ConfigurationError(f"{blueprint.name}: two services answer at {path}")
            paths[path] = {"servers": [{"url": url, "description": plan.name}], **operations}
        schemas |= one["components"]["schemas"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Waybill: {blueprint.name}",
            "version": version("waybill"),
            "description": (
                f"{blueprint.summary} (from {blueprint.source}). Errors are "
                "problem+json (RFC 9457) with a stable `code`."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {"schemas": {name: schemas[name] for name in sorted(schemas)}},
    }
