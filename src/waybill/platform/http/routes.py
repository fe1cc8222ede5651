"""The tables of served routes: hot ones by path, labels by route, methods by path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import APIRoute
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Scope

    from waybill.commerce.http.surface import HotRoute

UNKNOWN = "UNKNOWN"


class HotTable:
    """Finds hot routes by method and path, in a dictionary: it costs every request."""

    def __init__(self, routes: Iterable[HotRoute]) -> None:
        self._whole: dict[tuple[str, str], ASGIApp] = {}
        self._last: dict[tuple[str, str], tuple[ASGIApp, str]] = {}
        for route in routes:
            above, _, last = route.path.rpartition("/")
            if last.startswith("{"):
                self._last[route.method, above] = (route.endpoint, last[1:-1])
            else:
                self._whole[route.method, route.path] = route.endpoint

    def find(self, scope: Scope) -> ASGIApp | None:
        """The endpoint of this request, which is put into the scope as a router would."""
        method, path = scope["method"], scope["path"]
        if method == "HEAD":
            method = "GET"
        endpoint = self._whole.get((method, path))
        if endpoint is None:
            above, _, last = path.rpartition("/")
            found = self._last.get((method, above))
            if found is None or not last:
                return None
            endpoint, name = found
            scope["path_params"] = {name: last}
        scope["endpoint"] = endpoint
        return endpoint


class RouteTable:
    """Fixed when the application is made."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route)]
        # FastAPI's routes put themselves into the scope; a hot one is known by its endpoint.
        self._hot: dict[Callable[..., Any], str] = {
            route.endpoint: route.path_format
            for route in self._routes
            if not isinstance(route, APIRoute)
        }

    def template(self, scope: Scope) -> str:
        """The matched route's template, never the raw path (a label must stay bounded)."""
        route = scope.get("route")
        if isinstance(route, APIRoute):
            return route.path_format
        endpoint = scope.get("endpoint")
        return self._hot.get(endpoint, UNKNOWN) if endpoint is not None else UNKNOWN

    def allowed(self, path: str) -> list[str]:
        """Methods of this path, for Allow; empty if there is no such path."""
        methods: set[str] = set()
        for route in self._routes:
            if route.path_regex.match(path):
                methods |= route.methods or set()
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods | {"OPTIONS"}) if methods else []
