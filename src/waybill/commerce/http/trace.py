"""The trace context of a request (W3C Trace Context), as text that goes into rows and headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

SCOPE_KEY = "waybill.traceparent"

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16
_SPAN_BITS = (1 << 64) - 1


def accepted_traceparent(value: bytes | None) -> str | None:
    """The header's context if it is valid, as version 00 with the sampled bit only; else None.

    An unknown higher version is read by its first 55 characters; ff is invalid. All-zero ids are.
    """
    found = _TRACEPARENT.fullmatch(value.strip()) if value else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest) or trace_id == _NO_TRACE:
        return None
    if span_id == _NO_SPAN:
        return None
    sampled = int(flags, 16) & 1
    return f"00-{trace_id.decode()}-{span_id.decode()}-{sampled:02x}"


def current_traceparent(incoming: bytes | None, random_bits: Callable[[int], int]) -> str:
    """The active span's context; without one the caller's; without that a new, unsampled one."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"
    accepted = accepted_traceparent(incoming)
    if accepted is not None:
        return accepted
    drawn = random_bits(192)  # at once: half of the cost is the call
    return f"00-{drawn >> 64 or 1:032x}-{drawn & _SPAN_BITS or 1:016x}-00"


def traceparent_of(scope: Scope) -> str:
    """The context that the edge has put into the scope of this request."""
    traceparent: str = scope[SCOPE_KEY]
    return traceparent


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits of the trace."""
    return traceparent[3:35]
