"""The OpenAPI 3.1 document of one service: FastAPI's part, hot routes, schemas, common headers.

Every served route is in it (promises.md, API9), and every error is a problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi.openapi.utils import get_openapi

from waybill.commerce.http.problem import ProblemBody
from waybill.commerce.http.surface import REF, Responses, refuses
from waybill.platform.http.edge import API

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from waybill.commerce.http.surface import HotRoute

_TRACEPARENT = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C Trace Context: the answer and all its events join this trace.",
    "schema": {"type": "string"},
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
_COMMON = refuses(
    _405="The address does not answer this method",
    _500="Our fault; the log has more under `traceId`",
    _503="Overloaded, or something this needs is down: try again after `Retry-After`",
)
_TOKENS = refuses(_401="No access token, or none that is good", _403="The token is not for this")
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_NEGOTIATED = refuses(_406="The client does not accept JSON")
_OURS = frozenset({"HTTPValidationError", "ValidationError"})


def document(
    *,
    title: str,
    version: str,
    description: str,
    routes: Sequence[BaseRoute],
    hot: Sequence[HotRoute],
    structs: Sequence[type[msgspec.Struct]],
    tokens: bool = False,
) -> dict[str, Any]:
    """The whole document; made once, at start. `tokens`: its resources ask for one."""
    made = get_openapi(title=title, version=version, description=description, routes=routes)
    paths = made.setdefault("paths", {})
    for route in hot:
        paths.setdefault(route.path, {})[route.method.lower()] = dict(route.operation)
    for path, operations in paths.items():
        resource = path.startswith(API)
        common = _COMMON | (_NEGOTIATED if resource else {})
        common |= _TOKENS if resource and tokens else {}
        for method, operation in operations.items():
            operations[method] = _completed(operation, common)
            if resource and tokens:
                operations[method]["security"] = [{"bearer": []}]
    if tokens:
        made.setdefault("components", {})["securitySchemes"] = {"bearer": _BEARER}
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in _OURS:
        schemas.pop(name, None)
    schemas.update(_schemas([*structs, ProblemBody]))
    return made


def _completed(operation: dict[str, Any], common: Responses) -> dict[str, Any]:
    """With what every operation has: traceparent, common problems; without FastAPI's 422."""
    responses = {str(status): answer for status, answer in operation["responses"].items()}
    responses.pop("422", None)
    for status, answer in common.items():
        responses.setdefault(str(status), answer)
    return {
        **operation,
        "parameters": [*operation.get("parameters", ()), _TRACEPARENT],
        "responses": dict(sorted(responses.items())),
    }


def _schemas(structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(structs, ref_template=REF)
    shown: dict[str, Any] = _with_numbers(components)
    return shown


def _with_numbers(schema: Any) -> Any:  # noqa: ANN401 - JSON Schema is any JSON
    """Money is a JSON number here; msgspec describes its default, a string."""
    if isinstance(schema, list):
        return [_with_numbers(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**schema, "type": "number"}
    return {name: _with_numbers(member) for name, member in schema.items()}
