"""Looks at a sample of orders by GET until they end, as a client without events would.

Each look costs the platform a request, so only a sample is watched. What it sees is late by up to
one pause and one request.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import TYPE_CHECKING, Final

from waybill.blueprints.catalogue import DEFAULT
from waybill.operations.http_client import Connection

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint

PAUSE_SECONDS: Final = 0.002
PAUSE_GROWTH: Final = 1.1
"""Each pause is a little longer than the one before."""
PAUSE_SECONDS_MAX: Final = 0.5
WATCHED_MAX: Final = 32
"""Orders that are watched at a time; one that comes meanwhile is left out of the sample."""


class Watcher:
    """Hand it accepted orders; `latencies` are seconds from the intended send to the good end."""

    def __init__(
        self, host: str, port: int, *, every: int, blueprint: Blueprint = DEFAULT, headers: str = ""
    ) -> None:
        self.latencies = array("d")
        self.left_out = 0
        self._host = host
        self._port = port
        self._every = every
        self._headers = headers
        self._count = 0
        self._path = blueprint.orders.contract.path
        process = blueprint.order_process
        self._good = f'"{process.confirmed.status}"'.encode()
        self._bad = tuple(f'"{status}"'.encode() for status in process.failures)
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
                answer = await connection.request(
                    "GET", f"{self._path}/{order}", headers=self._headers
                )
            except OSError:
                continue
            is_good = self._good in answer.body
            if is_good:
                self.latencies.append(time.perf_counter() - intended)
            if is_good or any(bad in answer.body for bad in self._bad):
                self._idle.append(connection)
                return
