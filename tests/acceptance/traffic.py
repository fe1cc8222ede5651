"""Customers that keep ordering while the platform dies and comes back, and remember its words."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import httpx2
from tests.acceptance.processes import NO_TLS
from tests.acceptance.stages import CHOREOGRAPHY

from waybill.operations.history import Entry, HistoryWriter, hash_of, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from httpx2 import Response
    from tests.acceptance.processes import PlatformProcess
    from tests.acceptance.stages import Stage

CUSTOMERS = 4


class Traffic:
    """Four customers in a loop. Whose answer names an order is accepted; what broke off is unknown.

    `history()` is what they were told, for the audit. Between two orders a customer waits
    `gap_seconds`: what needs load and no overload is shown with fewer orders to count.
    """

    def __init__(
        self, platform: PlatformProcess, *, gap_seconds: float = 0.0, stage: Stage = CHOREOGRAPHY
    ) -> None:
        self.accepted: dict[str, str] = {}
        """Order ids by idempotency key."""
        self.unknown: set[str] = set()
        self.refused: list[tuple[int, str | None]] = []
        """Status and Retry-After of every answer that was no 2xx."""
        self.unreached: list[str] = []
        """Keys of requests that nobody listened to: they were never sent."""
        self._told: list[Entry] = []
        self._platform = platform
        self._stage = stage
        self._gap_seconds = gap_seconds
        self._ended = threading.Event()
        self._open = threading.Event()
        self._threads = [threading.Thread(target=self._order) for _ in range(CUSTOMERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._open.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def resume(self) -> None:
        """Let them order."""
        self._open.set()

    def pause(self) -> None:
        """Hold them back after their current request."""
        self._open.clear()

    def settle_unknown(self) -> None:
        """Repeat every unknown request with its key: it tells what happened before."""
        for key in sorted(self.unknown):
            began = time.monotonic()
            answer = self._stage.place(self._platform.url(1), key, self._platform.client)
            self._tell(key, began, answer)
            order_id = self._stage.order_of(answer)
            assert order_id is not None, answer.text
            self.accepted[key] = order_id
        self.unknown.clear()

    def history(self) -> Path:
        """A file with every answer so far, and every one that did not come."""
        return write_history(self._platform.data.parent, list(self._told))

    def _order(self) -> None:
        with httpx2.Client(timeout=30, verify=NO_TLS) as client:
            while not self._ended.is_set():
                self._open.wait()
                if self._ended.is_set():
                    return
                self._place(client, secrets.token_hex(16))
                self._ended.wait(self._gap_seconds)

    def _place(self, client: httpx2.Client, key: str) -> None:
        began = time.monotonic()
        try:
            answer = self._stage.place(self._platform.url(1), key, client)
        except httpx2.ConnectError:
            self.unreached.append(key)
            self._ended.wait(0.05)
            return
        except httpx2.TransportError:
            self._tell(key, began, None)
            self.unknown.add(key)
            self._ended.wait(0.02)
            return
        self._tell(key, began, answer)
        order_id = self._stage.order_of(answer)
        if order_id is not None:
            self.accepted[key] = order_id
            return
        self.refused.append((answer.status_code, answer.headers.get("Retry-After")))
        self.unknown.add(key)
        self._ended.wait(0.02)

    def _tell(self, key: str, began: float, answer: Response | None) -> None:
        self._told.append(told(key, began, answer, self._stage))


def told(key: str, began: float, answer: Response | None, stage: Stage = CHOREOGRAPHY) -> Entry:
    """A line of the history; None: no answer came."""
    outcome = "info" if answer is None else outcome_of(answer.status_code, answer.content)
    return Entry(
        at=datetime.now(UTC),  # noqa: TID251 - a client's own clock
        operation="place",
        scope="",
        key=key,
        customer_id=stage.customer_of(answer.request) if answer is not None else None,
        payload_hash=hash_of(answer.request.content) if answer is not None else None,
        status=answer.status_code if answer is not None else None,
        outcome=outcome,
        order_id=stage.order_of(answer) if answer is not None and outcome == "ok" else None,
        body_hash=hash_of(answer.content) if answer is not None else None,
        seconds=time.monotonic() - began,
    )


def write_history(directory: Path, entries: Iterable[Entry]) -> Path:
    """A new file with these lines."""
    path = directory / f"history-{secrets.token_hex(4)}.jsonl"
    with HistoryWriter(path) as writer:
        for entry in entries:
            writer.write(entry)
    return path


def at_once(count: int, request: Callable[[httpx2.Client, int], Response]) -> list[Response]:
    """The answers to so many requests that leave together, on so many connections."""
    start = threading.Barrier(count)

    def one(number: int) -> Response:
        start.wait(timeout=30)
        return request(client, number)

    connections = httpx2.Limits(max_connections=count)
    with (
        httpx2.Client(timeout=30, limits=connections, verify=NO_TLS) as client,
        ThreadPoolExecutor(count) as pool,
    ):
        return list(pool.map(one, range(count)))
