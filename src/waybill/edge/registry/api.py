"""Eureka's REST protocol: what a client calls of its registry, in JSON and XML.

XML unless the client accepts JSON, as the first Eureka had it: some clients say nothing and expect
it. The same under `/eureka` (Spring Cloud's) and `/eureka/v2` (Netflix').
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from waybill.commerce.http.body import read_body
from waybill.commerce.http.problem import Problem
from waybill.commerce.http.surface import Surface, refuses
from waybill.edge.registry.documents import (
    Document,
    MalformedDocumentError,
    from_json,
    from_xml,
    to_json,
    to_xml,
)
from waybill.edge.registry.entries import (
    STATUSES,
    UNKNOWN,
    Entry,
    given_by,
    hash_of,
    shown,
)
from waybill.edge.registry.registry import Registry

BASES: Final = ("/eureka", "/eureka/v2")
_NOT_THERE: Final = "There is no such instance: register it"


def surface(registry: Registry, *, user: str, password: str) -> Surface:
    """All its routes; with a password they ask for it (HTTP Basic), as Eureka's do."""

    async def admit(request: Request) -> None:
        if not password:
            return
        expected = b"Basic " + b64encode(f"{user}:{password}".encode())
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise Problem(
                401,
                "password_needed",
                "The registry asks for its user and password",
                headers={"WWW-Authenticate": 'Basic realm="registry"'},
            )

    routes = []
    for base in BASES:
        for make in (_lists, _one, _instances, _statuses):
            router = APIRouter(prefix=base, tags=["registry"], dependencies=[Depends(admit)])
            make(router, registry)
            routes += list(router.routes)
    return Surface(routes=routes)


def _lists(router: APIRouter, registry: Registry) -> None:
    @router.get("/apps", summary="Every instance", responses=_PROBLEMS)
    @router.get("/apps/", include_in_schema=False)
    async def get_all(request: Request) -> Response:
        live = (await registry.look()).live
        return _answer(request, _applications(live, live))

    @router.get("/apps/delta", summary="What changed in the last three minutes")
    async def get_news(request: Request) -> Response:
        seen = await registry.look()
        return _answer(request, _applications(seen.news, seen.live))

    @router.get("/vips/{name}", summary="Instances of a virtual address", responses=_PROBLEMS)
    async def get_of_vip(name: str, request: Request) -> Response:
        return _answer(request, await _with(registry, "vipAddress", name))

    @router.get("/svips/{name}", summary="The same of a secure one", responses=_PROBLEMS)
    async def get_of_secure_vip(name: str, request: Request) -> Response:
        return _answer(request, await _with(registry, "secureVipAddress", name))


def _one(router: APIRouter, registry: Registry) -> None:
    @router.get("/apps/{app}", summary="Instances of one application", responses=_PROBLEMS)
    async def get_application(app: str, request: Request) -> Response:
        live = [each for each in (await registry.look()).live if each.app == app.upper()]
        if not live:
            raise _not_there()
        return _answer(request, {"application": _application(app.upper(), live)})

    @router.get("/apps/{app}/{instance}", summary="One instance", responses=_PROBLEMS)
    async def get_instance_of(app: str, instance: str, request: Request) -> Response:
        found = await _found(registry, instance)
        if found.app != app.upper():
            raise _not_there()
        return _answer(request, {"instance": shown(found)})

    @router.get("/instances/{instance}", summary="One instance", responses=_PROBLEMS)
    async def get_instance(instance: str, request: Request) -> Response:
        return _answer(request, {"instance": shown(await _found(registry, instance))})


def _instances(router: APIRouter, registry: Registry) -> None:
    @router.post("/apps/{app}", status_code=204, summary="Register", responses=_PROBLEMS)
    async def register(app: str, request: Request) -> Response:
        length = request.headers.get("content-length")
        body = await read_body(request.receive, length.encode() if length else None)
        is_xml = "xml" in request.headers.get("content-type", "")
        try:
            document = from_xml(body) if is_xml else from_json(body)
            given = given_by(document, app)
        except MalformedDocumentError as error:
            raise Problem(400, "malformed_instance", str(error)) from None
        await registry.register(given)
        return Response(status_code=204)

    @router.put("/apps/{app}/{instance}", summary="A heartbeat", responses=_PROBLEMS)
    async def renew(app: str, instance: str, request: Request) -> Response:
        text = request.query_params.get("lastDirtyTimestamp", "")
        dirty_at = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0  # noqa: PLR2004 - milliseconds have 13 digits
        return _done(await registry.renew(app, instance, dirty_at=dirty_at))

    @router.delete("/apps/{app}/{instance}", summary="It goes", responses=_PROBLEMS)
    async def cancel(app: str, instance: str) -> Response:
        return _done(await registry.cancel(app, instance))


def _statuses(router: APIRouter, registry: Registry) -> None:
    path = "/apps/{app}/{instance}/status"

    @router.put(path, summary="An operator's word on its status", responses=_PROBLEMS)
    async def override(app: str, instance: str, value: str = "") -> Response:
        if value.upper() not in STATUSES:
            raise Problem(400, "malformed_status", f"`value` is none of {', '.join(STATUSES)}")
        return _done(await registry.override(app, instance, value.upper()))

    @router.delete(path, summary="The instance's own word again", responses=_PROBLEMS)
    async def forget(app: str, instance: str) -> Response:
        return _done(await registry.override(app, instance, UNKNOWN))


_PROBLEMS: Final = refuses(
    _400="It cannot be read", _401="The password is missing or wrong", _404=_NOT_THERE
)


async def _found(registry: Registry, instance: str) -> Entry:
    for each in (await registry.look()).live:
        if each.id == instance:
            return each
    raise _not_there()


async def _with(registry: Registry, member: str, name: str) -> Document:
    live = (await registry.look()).live
    chosen = [each for each in live if name in str(each.document.get(member, "")).split(",")]
    if not chosen:
        raise _not_there()
    return _applications(chosen, chosen)


def _applications(entries: Sequence[Entry], live: Sequence[Entry]) -> Document:
    """`entries` by application; the hash is of all that are there."""
    by_app: dict[str, list[Entry]] = {}
    for entry in entries:
        by_app.setdefault(entry.app, []).append(entry)
    return {
        "applications": {
            "versions__delta": "1",
            "apps__hashcode": hash_of(live),
            "application": [_application(app, of_it) for app, of_it in by_app.items()],
        }
    }


def _application(app: str, entries: Sequence[Entry]) -> Document:
    return {"name": app, "instance": [shown(entry) for entry in entries]}


def _answer(request: Request, document: Document) -> Response:
    if "json" in request.headers.get("accept", ""):
        return Response(to_json(document), media_type="application/json")
    return Response(to_xml(document), media_type="application/xml")


def _done(done: bool) -> Response:  # noqa: FBT001 - what a call came to
    if not done:
        raise _not_there()
    return Response(status_code=200)


def _not_there() -> Problem:
    return Problem(404, "instance_not_found", _NOT_THERE)
