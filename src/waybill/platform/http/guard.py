"""Who may call which route, once tokens are asked for: deny by default, in one table (API5).

A route of a service without a policy fails at start-up. Operations and documentation have none:
they show nobody's data, and the gateway does not lead to them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from fastapi.routing import APIRoute
from starlette.routing import compile_path

from waybill.commerce.http.caller import SCOPE_KEY
from waybill.commerce.http.problem import Problem
from waybill.edge.tokens.bearer import require_caller
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Scope

    from waybill.commerce.http.surface import Surface
    from waybill.edge.tokens.bearer import Verifier


_ALIAS = re.compile(r"At\d+$")


class Policy(Enum):
    """CALLER: anybody with a token; whose things they may see is for the service to say.

    ONESELF: whom the path's first parameter names, and operators.
    """

    ANYBODY = "anybody"
    CALLER = "caller"
    ONESELF = "oneself"
    OPERATOR = "operator"


POLICIES: Final = {
    **dict.fromkeys(
        ("placeOrder", "getOrder", "listOrders", "getOrderTimeline", "cancelOrder"), Policy.CALLER
    ),
    **dict.fromkeys(("listProducts", "getProduct", "listStock", "getStock"), Policy.CALLER),
    **dict.fromkeys(("createProduct", "changeProduct", "countStock"), Policy.OPERATOR),
    # Payments and notifications do not know whose order they are about.
    **dict.fromkeys(("listPayments", "listNotifications", "notify", "getSaga"), Policy.OPERATOR),
    **dict.fromkeys(("putContact", "getContact", "eraseContact"), Policy.ONESELF),
    # Asked by the order service itself.
    "chargeOrder": Policy.OPERATOR,
    # Signed by the provider.
    "takePaymentWebhook": Policy.ANYBODY,
    # Of the accounts service: what gives tokens asks for none.
    **dict.fromkeys(
        ("register", "logIn", "refresh", "refreshToken", "logOut", "getKeys", "getIssuer"),
        Policy.ANYBODY,
    ),
    **dict.fromkeys(("getOwnAccount", "validateToken"), Policy.CALLER),
}
"""By operation id."""


class Guard:
    """The policies of one service's routes. Raises ConfigurationError for a route without one."""

    def __init__(self, surface: Surface, verifier: Verifier) -> None:
        self._verifier = verifier
        self._policies = [
            (compile_path(path)[0], methods, _policy(operation_id, path))
            for path, methods, operation_id in operations_of(surface)
        ]

    async def authorize(self, scope: Scope) -> None:
        """Put the caller into the scope. Raises Problem 401, 403; TransientError."""
        policy, named = self._find(scope)
        if policy is Policy.ANYBODY:
            return
        caller = await require_caller(scope["headers"], self._verifier)
        oneself = named in {caller.subject, str(caller.customer_id)}
        if not caller.serves and (
            policy is Policy.OPERATOR or (policy is Policy.ONESELF and not oneself)
        ):
            raise _forbidden()
        scope[SCOPE_KEY] = caller

    def _find(self, scope: Scope) -> tuple[Policy, str]:
        """Anybody gets a 404, a 405, and what belongs to no service."""
        path, method = scope["path"], scope["method"]
        for pattern, methods, policy in self._policies:
            if method in methods and (found := pattern.match(path)):
                return policy, next(iter(found.groups()), "")
        return Policy.ANYBODY, ""


def operations_of(surface: Surface) -> Iterator[tuple[str, frozenset[str], str]]:
    """Path, methods and operation id of every route, in the order in which they are matched."""
    for hot in surface.hot:
        yield hot.path, frozenset({hot.method}), str(hot.operation.get("operationId", ""))
    for route in surface.routes:
        path = getattr(route, "path", "?")
        operation_id = route.operation_id if isinstance(route, APIRoute) else None
        yield path, frozenset(getattr(route, "methods", None) or ()), operation_id or ""


def without_policy(surface: Surface) -> list[str]:
    """The routes that POLICIES does not have."""
    return [
        f"{path} ({operation_id or 'no operation id'})"
        for path, _, operation_id in operations_of(surface)
        if _named(operation_id) not in POLICIES
    ]


def _named(operation_id: str) -> str:
    """An alias has the policy of what it is an alias of (`placeOrderAt1`)."""
    return _ALIAS.sub("", operation_id)


def _policy(operation_id: str, path: str) -> Policy:
    policy = POLICIES.get(_named(operation_id))
    if policy is None:
        raise ConfigurationError(
            f"route {path} ({operation_id or 'no operation id'}) has no policy: say in "
            "platform/http/guard.py who may call it"
        )
    return policy


def _forbidden() -> Problem:
    return Problem(
        403,
        "forbidden",
        "This token is not for this",
        headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
    )
