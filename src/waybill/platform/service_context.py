"""Which service the running code belongs to, where several share a process.

Tasks inherit it, and so do the connections of a server that was started inside: logs and spans
are attributed without anybody passing a name around.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLATFORM: Final = "waybill"
"""What belongs to no service: start, stop, the database's supervisor."""

_service: ContextVar[str] = ContextVar("waybill_service", default=PLATFORM)
_fields: ContextVar[Mapping[str, object] | None] = ContextVar("waybill_log_fields", default=None)


def current_service() -> str:
    """The service's documented name (`order-service`), or `waybill`."""
    return _service.get()


@contextmanager
def in_service(name: str) -> Iterator[None]:
    """Everything started inside belongs to this service."""
    token = _service.set(name)
    try:
        yield
    finally:
        _service.reset(token)


def bound_fields() -> dict[str, object]:
    """What `bound` added to the log lines made here."""
    return dict(_fields.get() or {})


class bound:  # noqa: N801 - used as a function; a generator costs every request three times that
    """Add fields (correlation_id, trace_id, …) to every log line made inside."""

    __slots__ = ("_added", "_token")

    def __init__(self, **fields: object) -> None:
        self._added = fields

    def __enter__(self) -> None:
        outer = _fields.get()
        self._token = _fields.set({**outer, **self._added} if outer else self._added)

    def __exit__(self, *_: object) -> None:
        _fields.reset(self._token)
