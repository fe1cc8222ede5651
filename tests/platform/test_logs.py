"""Logs: a fixed set of fields, nothing that forges a line, nobody waits for them."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.logs import EXCEPTION_LENGTH_MAX, MESSAGE_LENGTH_MAX, LogWriter, set_up_logs
from waybill.platform.service_context import bound, in_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("waybill.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines_of(act: Callable[[], object], *, style: Literal["json", "text"] = "json") -> list[str]:
    """What is written while `act` runs."""
    stream = io.StringIO()
    writer = set_up_logs(stream=stream, style=style)
    act()
    writer.close()
    return stream.getvalue().splitlines()


def line_of(act: Callable[[], object]) -> dict[str, Any]:
    """The one JSON line that it writes."""
    (line,) = lines_of(act)
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_names_service_correlation_and_trace() -> None:
    """What belongs together can be found together, over all services."""
    with in_service("order-service"), bound(correlation_id="c1", trace_id="t1"):
        line = line_of(lambda: logger.info("placed %s", 3, extra={"topic": "order-events"}))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "service": "order-service",
        "logger": "waybill.test",
        "message": "placed 3",
        "topic": "order-events",
        "correlation_id": "c1",
        "trace_id": "t1",
    }


def test_a_field_that_is_not_on_the_list_is_left_out() -> None:
    """A person's data cannot slip in by an extra."""
    extra = {"email": "somebody@example.test", "customer_id": "x", "consumer": "c"}
    line = line_of(lambda: logger.info("x", extra=extra))
    assert line["consumer"] == "c"
    assert "somebody" not in json.dumps(line)
    assert "customer_id" not in line


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_text_forges_a_line_or_drives_a_terminal(style: Literal["json", "text"]) -> None:
    """Line ends and escape sequences of a foreign text are shown, not obeyed."""
    evil = 'a\n{"level":"error"}\r\x1b[31m\x07\u2028\x85'
    lines = lines_of(
        lambda: logger.info("%s", evil, extra={"topic": "t\nfake", "reason": "\x1b]0;x"}),
        style=style,
    )
    assert len(lines) == 1
    assert not any(ord(letter) < 32 or letter in "\x7f\x85\u2028" for letter in lines[0])


def test_a_line_is_bounded() -> None:
    """A message of a megabyte does not fill the disk."""
    line = line_of(lambda: logger.info("x" * 1_000_000))
    assert len(line["message"]) < MESSAGE_LENGTH_MAX + 50


def test_of_a_foreign_error_only_the_first_line_is_told() -> None:
    """The driver's further lines quote rows; ours are written to be read."""

    def violate() -> None:
        raise ValueError("duplicate key\nDETAIL: Key (email)=(somebody@example.test)")

    def fail() -> None:
        try:
            try:
                violate()
            except ValueError as error:
                raise ConfigurationError("cannot be") from error
        except ConfigurationError:
            logger.exception("it failed")

    line = line_of(fail)
    assert "ConfigurationError: cannot be" in line["exception"]
    assert "ValueError: duplicate key" in line["exception"]
    assert "test_logs.py" in line["exception"]
    assert "somebody" not in line["exception"]


def test_a_deep_error_is_bounded() -> None:
    """Neither a recursion nor a chain of causes makes an endless line."""

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise ValueError("deep")

    def fail() -> None:
        try:
            deep(900)
        except ValueError:
            logger.exception("it failed")

    assert len(line_of(fail)["exception"]) < EXCEPTION_LENGTH_MAX + 50


def test_a_reader_that_stalls_stops_nobody() -> None:
    """Lines beyond the queue are dropped and counted."""
    blocked, reading = threading.Event(), threading.Event()

    class Stalled(io.StringIO):
        def write(self, text: str) -> int:
            reading.set()
            blocked.wait(10)
            return len(text)

    writer = LogWriter(Stalled(), lines_max=5)
    for number in range(100):
        writer.handle(logging.LogRecord("x", logging.INFO, "", 0, f"{number}", None, None))
        reading.wait(10)
    assert writer.dropped == 94
    blocked.set()
    writer.close()


def test_a_reader_that_went_away_is_no_error() -> None:
    """A closed pipe does not end the platform."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    writer = LogWriter(Closed())
    writer.handle(logging.LogRecord("x", logging.INFO, "", 0, "lost", None, None))
    writer.close()
    assert writer.dropped == 1


def test_the_level_is_a_setting_and_libraries_are_routed() -> None:
    """uvicorn, asyncpg and warnings come out in the same form; debug stays in."""

    def act() -> None:
        logging.getLogger("uvicorn.error").warning("from uvicorn")
        logging.getLogger("asyncpg").debug("too much")
        logging.getLogger("alembic").info("talkative")

    lines = [json.loads(line) for line in lines_of(act)]
    assert [line["message"] for line in lines] == ["from uvicorn"]
