"""Which service answers which path, and whether a token is needed: a table, and nothing besides it.

What is not in it is 404: operations and documentation of the services cannot be reached (API8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from waybill.commerce.http.problem import Problem
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import Scope

_PREFIX = re.compile(r"(/[a-z0-9._-]+)+")


class Access(Enum):
    """Who may pass. The services decide further, by roles and by whose things they are."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 - no secret


@dataclass(frozen=True)
class Route:
    """Everything at `prefix` and below it goes to this service, under the same path."""

    prefix: str
    service: str
    access: Access = Access.TOKEN
    keyed: bool = False
    """Its POST with an Idempotency-Key does twice what it does once."""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(f"route {self.prefix!r}: give a path as in /api/orders")


class RouteSet:
    """The table; the longest prefix wins. Raises ConfigurationError for one that stands twice."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_prefix: dict[str, Route] = {}
        for route in routes:
            if self._by_prefix.setdefault(route.prefix, route) is not route:
                raise ConfigurationError(f"route {route.prefix}: it stands in the table twice")
        if not self._by_prefix:
            raise ConfigurationError("the gateway has no routes: give it one at least")

    def __iter__(self) -> Iterator[Route]:
        return iter(self._by_prefix.values())

    def find(self, path: str) -> Route | None:
        """The route of a path; a prefix ends where a segment does."""
        while path:
            found = self._by_prefix.get(path)
            if found is not None:
                return found
            path = path.rpartition("/")[0]
        return None


ORDERS: Final = ("/api/orders", "/api/v1/orders", "/orders", "/order", "/checkout")
"""The paths of every blueprint (contracts C4): those that a service does not know are its 404."""

ROUTES: Final = (
    *(Route(prefix, "order", keyed=True) for prefix in ORDERS),
    Route("/product", "order"),
    Route("/api/payments", "payment"),
    Route("/api/products", "inventory"),
    Route("/api/inventory", "inventory"),
    Route("/api/notifications", "notification"),
    Route("/api/v1/contacts", "notification"),
    Route("/api/v1/sagas", "orchestrator"),
    Route("/api/v1/auth", "accounts", Access.PUBLIC),
    Route("/.well-known/jwks.json", "accounts", Access.PUBLIC),
    Route("/.well-known/openid-configuration", "accounts", Access.PUBLIC),
)


def plain_path(scope: Scope) -> str:
    """The path. Raises Problem 400 for one that two servers could read differently."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or path.encode()
    segments = path.split("/")[1:]
    doubtful = "\\" in path or "\0" in path or not path.startswith("/")
    if doubtful or b"%2f" in raw.lower() or any(each in {"", ".", ".."} for each in segments[:-1]):
        raise _refused()
    if segments and segments[-1] in {".", ".."}:
        raise _refused()
    return path


def _refused() -> Problem:
    return Problem(400, "path_refused", "The path has empty or dotted segments")
