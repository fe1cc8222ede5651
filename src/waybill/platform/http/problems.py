"""Every error becomes a problem: one shape, one place, nothing of the inside in it (C34)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from waybill.commerce.http.problem import MEDIA_TYPE, FieldError, Problem, invalid
from waybill.commerce.http.strict_json import looks_like_data
from waybill.commerce.http.trace import trace_id_of, traceparent_of
from waybill.messaging.core.errors import OutcomeUnknownError, OverloadedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from waybill.platform.http.routes import RouteTable

UNAVAILABLE_SECONDS = 2
_RETRY_SECONDS_MAX = 60
_FRAMEWORK = {
    404: ("not_found", "There is nothing at this address"),
    405: ("method_not_allowed", "This address does not answer this method"),
    413: ("body_too_large", "The body is too large"),
    415: ("unsupported_media_type", "This media type is not understood"),
}


class ProblemWriter:
    """Turns an exception into the answer that a client gets."""

    def __init__(self, routes: RouteTable, now: Callable[[], datetime]) -> None:
        self._routes = routes
        self._now = now

    async def handle(self, request: Request, error: Exception) -> Response:
        """For the framework's table of handlers."""
        return self.response(error, request.scope)

    async def write(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the problem of this error."""
        await self.response(error, scope)(scope, receive, send)

    def response(self, error: Exception, scope: Scope) -> Response:
        """The response. OPTIONS on a known path is not an error and answers with Allow alone."""
        allowed = self._routes.allowed(scope["path"])
        if scope["method"] == "OPTIONS" and allowed:
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        problem = problem_of(error)
        headers = dict(problem.headers)
        if problem.status == 405:  # noqa: PLR2004 - RFC 9110: 405 carries Allow
            headers["Allow"] = ", ".join(allowed)
        timestamp = self._now().isoformat(timespec="milliseconds")
        trace_id = trace_id_of(traceparent_of(scope))
        body = problem.body(path=scope["path"], trace_id=trace_id, timestamp=timestamp)
        return Response(body, problem.status, headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """What a client is told about this error. An unknown kind is a 500 that says nothing."""
    match error:
        case Problem():
            problem = error
        case RequestValidationError():
            problem = invalid([_field_error(dict(e)) for e in error.errors()])
        case HTTPException():
            problem = _of_framework(error)
        case OverloadedError():
            detail = "Too much to do: try again"
            problem = _later("overloaded", detail, error.retry_after_seconds)
        case OutcomeUnknownError():
            detail = "It may or may not have happened: repeat it with the same Idempotency-Key"
            problem = _later("outcome_unknown", detail, UNAVAILABLE_SECONDS)
        case TransientError():
            detail = "Something this needs is down: nothing was done, try again"
            problem = _later("unavailable", detail, UNAVAILABLE_SECONDS)
        case _:
            detail = "This is our fault; it is logged with traceId"
            problem = Problem(500, "internal_error", detail)
    return problem


def _of_framework(error: HTTPException) -> Problem:
    known = (f"http_{error.status_code}", "The request cannot be served")
    code, detail = _FRAMEWORK.get(error.status_code, known)
    return Problem(error.status_code, code, detail)


def _later(code: str, detail: str, seconds: float) -> Problem:
    wait = min(_RETRY_SECONDS_MAX, max(1, math.ceil(seconds)))
    return Problem(503, code, detail, headers={"Retry-After": str(wait)})


def _field_error(error: dict[str, object]) -> FieldError:
    """Of one pydantic error: where and what, without the value that was sent."""
    location = error.get("loc")
    steps = [str(step) for step in location] if isinstance(location, tuple) else []
    detail = str(error.get("msg", "is not valid")).split(",")[0]
    named = ".".join(step for step in steps[1:] if not looks_like_data(step))
    return FieldError(detail[:200], parameter=named[:64] or None)
