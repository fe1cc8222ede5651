"""Problem details (RFC 9457): how a request is refused. Raised anywhere below the edge.

`code` is the stable name that clients may branch on; texts may change. Nothing here echoes what
the client sent, so nothing of it can leak or grow.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE = "application/problem+json"
FIELD_ERRORS_MAX = 20


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong: in the body (`pointer`, RFC 6901 as a URI fragment), else where it names."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The body of every error. `timestamp`, `error` and `path` are seed 003's members (C34)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    timestamp: str
    error: str
    path: str
    errors: tuple[FieldError, ...] = ()
    order_id: str | None = None


class Problem(Exception):  # noqa: N818 - RFC 9457's own name
    """Refuse this request. `headers` go out with the answer; `order_id` is whose order it is."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        order_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors[:FIELD_ERRORS_MAX])
        self.headers = dict(headers or {})
        self.order_id = order_id

    def body(self, *, path: str, trace_id: str, timestamp: str) -> bytes:
        """The JSON of this problem; `path` is cut, whatever its length."""
        shown = path[:256]
        return msgspec.json.encode(
            ProblemBody(
                type=f"urn:waybill:problem:{self.code}",
                title=self.code.replace("_", " ").capitalize(),
                status=self.status,
                detail=self.detail,
                instance=shown,
                code=self.code,
                trace_id=trace_id,
                timestamp=timestamp,
                error=HTTPStatus(self.status).phrase,
                path=shown,
                errors=self.errors,
                order_id=self.order_id,
            )
        )


def invalid(errors: Sequence[FieldError]) -> Problem:
    """400: the request is well-formed, its values are not."""
    count = len(errors)
    noun = "value is" if count == 1 else "values are"
    return Problem(400, "validation_failed", f"{count} {noun} not valid", errors=errors)


def not_found(what: str) -> Problem:
    """404 with code `<what>_not_found`."""
    return Problem(404, f"{what}_not_found", f"There is no such {what}")
