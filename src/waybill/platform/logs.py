"""Logs on stdout: JSON lines, or readable text on a terminal.

Guarantees: a fixed set of fields; no control characters; bounded lines; a reader that stalls
stops no service (lines are dropped and counted); nothing of a row or a request but what a caller
put into the message.
"""

from __future__ import annotations

import logging
import queue
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import msgspec
from opentelemetry import trace

from waybill.messaging.core.errors import MessagingError
from waybill.messaging.runtime.tracing import current_correlation_id
from waybill.platform.service_context import bound_fields, current_service

MESSAGE_LENGTH_MAX: Final = 2_000
FIELD_LENGTH_MAX: Final = 300
EXCEPTION_LENGTH_MAX: Final = 8_000
QUEUE_LINES_MAX: Final = 10_000
CLOSE_SECONDS: Final = 2.0

FIELDS: Final = frozenset(
    {
        *("consumer", "topic", "type", "message_id", "correlation_id", "causation_id", "lane"),
        *("kind", "attempt", "outcome", "reason", "error_type", "verdict", "loop"),
        *("method", "route", "status", "code", "seconds", "count", "port", "database", "version"),
    }
)
"""What `extra=` may add. Everything else is left out: a person's data has no place here."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_COLOURS: Final = {"warning": "33", "error": "31", "critical": "31;1", "debug": "2"}


def printable(text: str, length_max: int) -> str:
    """Control characters as escapes, so that no text can forge a line or drive a terminal."""
    cut = text if len(text) <= length_max else f"{text[:length_max]}… (+{len(text) - length_max})"
    return _CONTROL.sub(lambda found: rf"\u{ord(found.group()):04x}", cut)


class LogWriter(logging.Handler):
    """Formats where the record is made and writes in a thread of its own."""

    def __init__(self, stream: TextIO, *, lines_max: int = QUEUE_LINES_MAX) -> None:
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(lines_max)
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line; drop and count it if the reader is that far behind."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - a record that cannot be formatted stops nobody
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, for a bounded time. May be repeated."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=CLOSE_SECONDS)
            except queue.Full:
                return
            self._thread.join(CLOSE_SECONDS)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # the reader went away: there is nobody to tell
                self.dropped += 1


def set_up_logs(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["auto", "json", "text"] = "auto",
    stream: TextIO | None = None,
) -> LogWriter:
    """Route every logger of the process here, uvicorn's and asyncpg's too. Close it at the end."""
    target = stream or sys.stdout
    readable = target.isatty() if style == "auto" else style == "text"
    writer = LogWriter(target)
    writer.setFormatter(TextFormatter(colours=target.isatty()) if readable else JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(writer)
    root.setLevel(level.upper())
    for talkative in ("alembic", "httpx2", "httpcore2"):
        logging.getLogger(talkative).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)
    return writer


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of one line, in their order; what is not allowed is left out."""
    at = datetime.fromtimestamp(record.created, UTC)
    line: dict[str, Any] = {
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "service": current_service(),
        "logger": record.name,
        "message": printable(record.getMessage(), MESSAGE_LENGTH_MAX),
    }
    correlation_id = current_correlation_id()
    caused = {"correlation_id": correlation_id} if correlation_id else {}
    context = caused | bound_fields() | vars(record)
    line |= {name: _plain(context[name]) for name in sorted(FIELDS & context.keys())}
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    elif "trace_id" in context:
        line["trace_id"] = _plain(context["trace_id"])
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = described(record.exc_info[1])
    return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        return msgspec.json.encode(fields_of(record)).decode()


class TextFormatter(logging.Formatter):
    """`12:00:00.123 order-service  warning  message  field=value`, for a person."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        line = fields_of(record)
        at, level = line.pop("timestamp"), line.pop("level")
        service, message = line.pop("service"), line.pop("message")
        line.pop("logger")
        code = _COLOURS.get(level) if self._colours else None
        word = f"\x1b[{code}m{level:<8}\x1b[0m" if code else f"{level:<8}"
        rest = "".join(f"  {name}={value}" for name, value in line.items())
        return f"{at[11:23]} {service:<20} {word} {message}{rest}"


def described(error: BaseException) -> str:
    """Where it happened and what it was; of foreign errors only the first line of their text.

    A driver's further lines quote the values of rows.
    """
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < 5:  # noqa: PLR2004 - causes further down say little
        frames = traceback.extract_tb(seen.__traceback__)
        places = " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in reversed(frames)
        )
        text = str(seen) if isinstance(seen, MessagingError) else str(seen).partition("\n")[0]
        parts.append(f"{type(seen).__qualname__}: {text[:FIELD_LENGTH_MAX]} [{places}]")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return printable(" | from ".join(parts), EXCEPTION_LENGTH_MAX)


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(str(value), FIELD_LENGTH_MAX)
