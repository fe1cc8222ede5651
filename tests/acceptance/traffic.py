"""Customers that keep ordering while the platform dies and comes back under them."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx2 import Response
    from tests.acceptance.processes import PlatformProcess

CUSTOMERS = 4


class Traffic:
    """Four customers in a loop. What was answered 2xx is accepted; what broke off is unknown."""

    def __init__(self, platform: PlatformProcess) -> None:
        self.accepted: dict[str, str] = {}
        """Order ids by idempotency key."""
        self.unknown: set[str] = set()
        self.refused: list[tuple[int, str | None]] = []
        """Status and Retry-After of every answer that was no 2xx."""
        self._platform = platform
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
            answer = self._platform.place(key)
            assert answer.status_code in {200, 201}, answer.text
            self.accepted[key] = answer.json()["id"]
        self.unknown.clear()

    def _order(self) -> None:
        with httpx2.Client(timeout=30) as client:
            while not self._ended.is_set():
                self._open.wait()
                if self._ended.is_set():
                    return
                self._place(client, secrets.token_hex(16))

    def _place(self, client: httpx2.Client, key: str) -> None:
        try:
            answer = self._platform.place(key, client=client)
        except httpx2.ConnectError:  # it was never sent
            self._ended.wait(0.05)
            return
        except httpx2.TransportError:
            self.unknown.add(key)
            self._ended.wait(0.02)
            return
        if answer.status_code in {200, 201}:
            self.accepted[key] = answer.json()["id"]
            return
        self.refused.append((answer.status_code, answer.headers.get("Retry-After")))
        self.unknown.add(key)
        self._ended.wait(0.02)


def at_once(count: int, request: Callable[[httpx2.Client, int], Response]) -> list[Response]:
    """The answers to so many requests that leave together, on so many connections."""
    start = threading.Barrier(count)

    def one(number: int) -> Response:
        start.wait(timeout=30)
        return request(client, number)

    connections = httpx2.Limits(max_connections=count)
    with (
        httpx2.Client(timeout=30, limits=connections) as client,
        ThreadPoolExecutor(count) as pool,
    ):
        return list(pool.map(one, range(count)))
