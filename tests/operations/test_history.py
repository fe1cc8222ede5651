"""The history of a client: whole lines, read one at a time, strict about its format."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.history import (
    Entry,
    HistoryWriter,
    hash_of,
    instant,
    outcome_of,
    read_history,
)

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = Entry(
    at=datetime(2026, 11, 21, 16, 50, 1, 250_000, tzinfo=UTC),
    operation="place",
    scope="",
    key="k-1",
    customer_id="aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
    payload_hash=hash_of(b"{}"),
    status=201,
    outcome="ok",
    order_id="01a1fe87-c53e-7735-a137-e198c8f5b806",
    body_hash=hash_of(b"answer"),
    seconds=0.0041,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Entries come back as they went in, in their order, and the names are the documented ones."""
    path = tmp_path / "history.jsonl"
    cut = Entry(ENTRY.at, "cancel", "", None, None, None, None, "info", "o-2", None, 1.5)
    with HistoryWriter(path) as writer:
        writer.write(ENTRY)
        writer.write(cut)
    assert writer.entries == 2
    assert list(read_history(path)) == [ENTRY, cut]
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {
        "at": "2026-11-21T16:50:01.250000Z",
        "operation": "place",
        "scope": "",
        "key": "k-1",
        "customerId": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
        "payloadHash": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "status": 201,
        "outcome": "ok",
        "orderId": "01a1fe87-c53e-7735-a137-e198c8f5b806",
        "bodyHash": ENTRY.body_hash,
        "seconds": 0.0041,
    }


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"{}", "ok"),
        (201, b"{}", "ok"),
        (301, b"", "fail"),
        (409, b'{"code":"idempotency_key_reused"}', "fail"),
        (429, b"", "fail"),
        (500, b'{"code":"internal_error"}', "info"),
        (500, b'{"code":"unavailable"}', "info"),
        (502, b"<html>", "info"),
        (503, b'{"code":"overloaded"}', "fail"),
        (503, b'{"code":"unavailable","status":503}', "fail"),
        (503, b'{"code":"outcome_unknown"}', "info"),
        (503, b"no JSON", "info"),
        (503, b'["list"]', "info"),
    ],
)
def test_what_an_answer_says(status: int, body: bytes, outcome: str) -> None:
    """A refusal counts as one only if it says that nothing was done."""
    assert outcome_of(status, body) == outcome


def test_a_cut_last_line_is_left_out_and_a_whole_one_is_not(tmp_path: Path) -> None:
    """A writer that was killed left half a line; a file without a last newline is whole."""
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        writer.write(ENTRY)
        writer.write(ENTRY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert len(list(read_history(path))) == 2
    path.write_bytes(whole[:-2])
    assert len(list(read_history(path))) == 1
    path.write_bytes(b"\n" + whole)
    assert len(list(read_history(path))) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"at":"2026-11-21T16:50:01Z"}', "line 2.*operation"),
        (b"surprise", "line 2.*docs/history.md"),
        (b"[" * 70_000, "line 2.*longer than"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    """By its number, with what is wrong; nothing after it is read."""
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        writer.write(ENTRY)
        writer.flush()
        good = path.read_bytes()
    path.write_bytes(good + line + b"\n" + good)
    entries = read_history(path)
    assert next(entries) == ENTRY
    with pytest.raises(ConfigurationError, match=words):
        next(entries)


def test_no_file_is_said_so(tmp_path: Path) -> None:
    """In one line, for the reader and for the writer."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        list(read_history(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        HistoryWriter(tmp_path / "missing" / "history.jsonl")


def test_memory_is_bounded_whatever_the_size(tmp_path: Path) -> None:
    """7 MB of history pass through less than 1 MB of memory, both ways."""
    path = tmp_path / "history.jsonl"
    tracemalloc.start()
    try:
        with HistoryWriter(path) as writer:
            for _ in range(20_000):
                writer.write(ENTRY)
        assert sum(1 for _ in read_history(path)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 7_000_000
    assert peak < 1_000_000


def test_an_instant_is_utc() -> None:
    """A Unix time becomes the instant it is."""
    assert instant(1_000_000_000.5) == datetime(2001, 9, 9, 1, 46, 40, 500_000, tzinfo=UTC)
