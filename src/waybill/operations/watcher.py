"""Looks at a sample of orders by GET until they end, as a client without events would.

Each look costs the platform a request, so only a sample is watched. What it sees is late by up to
one pause and one request.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import Final

from waybill.operations.http_client import Connection

PAUSE_SECONDS: Final = 0.002
PAUSE_GROWTH: Final = 1.1
"""Each pause is a little longer than the one before."""
PAUSE_SECONDS_MAX: Final = 0.5
WATCHED_MAX: Final = 32
"""Orders that are watched at a time; one that comes meanwhile is left out of the sample."""


class Watcher:
    """Hand it accepted orders; `latencies` are seconds from the intended send to CONFIRMED."""

    def __init__(self, host: str, port: int, *, every: int) -> None:
        self.latencies = array("d")
        self.left_out = 0
        self._host = host
        self._port = port
        self._every = every
        self._count = 0
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def accepted(self, order: bytes, intended: float) -> None:
        """Watch it if it is the n-th and there is room. `intended` is of `time.perf_counter`."""
        self._count += 1
        if not self._every or self._count % self._every:
            return
        if len(self._tasks) >= WATCHED_MAX:
            self.left_out += 1
            return
        task = asyncio.create_task(self._watch(order.decode(), intended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, seconds: float = 0.0) -> None:
        """Give the watched orders so long to end, then look no more."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        for connection in self._idle:
            connection.close()

    async def _watch(self, order: str, intended: float) -> None:
        connection = self._idle.pop() if self._idle else Connection(self._host, self._port)
        pause = PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, PAUSE_SECONDS_MAX)
            try:
                answer = await connection.request("GET", f"/api/orders/{order}")
            except OSError:
                continue
            if b'"CONFIRMED"' in answer.body:
                self.latencies.append(time.perf_counter() - intended)
            if b'"CONFIRMED"' in answer.body or b'"CANCELLED"' in answer.body:
                self._idle.append(connection)
                return
