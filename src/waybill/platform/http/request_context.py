"""What the log lines of a request share. Set by the edge, read by the logging set-up."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class RequestContext(NamedTuple):
    """The request's trace context, and the caller's own correlation id if it sent one."""

    traceparent: str
    correlation_id: str | None


request_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)
