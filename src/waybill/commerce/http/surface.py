"""What a service serves, with its documentation: routes, hot routes beside them, and schemas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from waybill.commerce.http.problem import MEDIA_TYPE, ProblemBody

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Send

Responses = dict[int | str, dict[str, Any]]
"""FastAPI's type of documented answers by status."""
REFUSING = 400
"""From this status on."""
REF = "#/components/schemas/{name}"
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class HotRoute:
    """An ASGI application at one path, without FastAPI's machinery; documented by hand.

    The path's last segment may be a parameter, which it finds in `scope["path_params"]`.
    """

    method: str
    path: str
    endpoint: ASGIApp
    operation: Mapping[str, Any]
    """Its OpenAPI operation object."""


@dataclass(frozen=True)
class Surface:
    """Everything of one service: what it answers and the structs that its documentation names."""

    routes: Sequence[BaseRoute]
    hot: Sequence[HotRoute] = ()
    structs: Sequence[type[msgspec.Struct]] = field(default=())


def joined(*surfaces: Surface) -> Surface:
    """All of these as one."""
    return Surface(
        routes=[route for surface in surfaces for route in surface.routes],
        hot=[route for surface in surfaces for route in surface.hot],
        structs=[struct for surface in surfaces for struct in surface.structs],
    )


def encoded(value: object) -> bytes:
    """JSON: money as numbers that keep their digits, times in ISO 8601 with Z."""
    return _ENCODER.encode(value)


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response of a struct."""
    return Response(encoded(value), status, headers, media_type="application/json")


async def send_json(send: Send, body: bytes, status: int = 200, *more: tuple[bytes, bytes]) -> None:
    """A hot route's answer: JSON that is encoded already, and further headers.

    What refuses is a problem.
    """
    media_type = b"application/json" if status < REFUSING else MEDIA_TYPE.encode()
    headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answers(status: int, struct: type[msgspec.Struct], description: str) -> Responses:
    """OpenAPI: this status answers with this struct."""
    schema = {"$ref": REF.format(name=struct.__name__)}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": description, "content": content}}


def refuses(**statuses: str) -> Responses:
    """OpenAPI: problems by status, as `refuses(_404="There is no such order")`."""
    schema = {"$ref": REF.format(name=ProblemBody.__name__)}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {
        int(status.lstrip("_")): {"description": text, "content": content}
        for status, text in statuses.items()
    }


def takes(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """OpenAPI: the request's body is this struct."""
    schema = {"$ref": REF.format(name=struct.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
