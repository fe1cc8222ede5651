"""The table of served routes: templates for labels, and which methods a path knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.routing import APIRoute
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from starlette.routing import BaseRoute
    from starlette.types import Scope

UNKNOWN = "UNKNOWN"


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
