"""A TCP proxy before a Kafka broker that cuts connections at a Produce request or at its answer.

It understands Kafka's framing and nothing more: requests and answers are length-prefixed, the
first four bytes of a request are its kind and version, and its correlation id comes back first in
the answer. The broker advertises the proxy's port, so nobody gets past it.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

PRODUCE = 0
"""The api_key of a Produce request (Kafka protocol guide)."""
_HEAD = struct.Struct("!hhi")


class Where(Enum):
    """What of a Produce request never arrives."""

    REQUEST = "the broker never hears of it"
    ANSWER = "it is in the log, and the producer never hears of that"


@dataclass
class Cut:
    """Cut the connections of the next `wanted` Produce requests."""

    where: Where
    wanted: int
    made: int = 0


@dataclass
class _Pair:
    """One client's connection and its own to the broker."""

    client: asyncio.StreamReader
    answers: asyncio.StreamWriter
    broker: asyncio.StreamReader
    requests: asyncio.StreamWriter
    cut_at: set[int] = field(default_factory=set)
    """Correlation ids of requests whose answer is to be lost."""


class ProduceProxy:
    """`with ProduceProxy() as proxy`: set `target` once the broker's own port is known."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._cut: Cut | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def listen(self) -> None:
        """Take connections, on the same port as ever."""
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no more connections: nobody listens where the broker is said to be."""
        assert self._server is not None
        self._loop.call_soon_threadsafe(self._server.close)

    def cut(self, where: Where, wanted: int) -> Cut:
        """From now on, in place of what was asked for before."""
        self._cut = Cut(where, wanted)
        return self._cut

    def _run(self, work: Any) -> Any:  # noqa: ANN401 - whatever work returns
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        try:
            broker, requests = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            answers.transport.abort()
            return
        pair = _Pair(client, answers, broker, requests)
        ways = [asyncio.create_task(self._forth(pair)), asyncio.create_task(self._back(pair))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for side in (requests, answers):
                side.transport.abort()

    async def _forth(self, pair: _Pair) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(pair.client)
                kind, _, correlation_id = _HEAD.unpack_from(frame)
                cut = self._cut
                if kind == PRODUCE and cut is not None and cut.made < cut.wanted:
                    if cut.where is Where.REQUEST:
                        cut.made += 1
                        return
                    pair.cut_at.add(correlation_id)
                await _pass_on(pair.requests, frame)

    async def _back(self, pair: _Pair) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await _frame(pair.broker)
                (correlation_id,) = struct.unpack_from("!i", frame)
                if correlation_id in pair.cut_at and self._cut is not None:
                    self._cut.made += 1
                    return
                await _pass_on(pair.answers, frame)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    return await reader.readexactly(length)


async def _pass_on(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack("!i", len(frame)) + frame)
    await writer.drain()
