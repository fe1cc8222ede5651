"""A TCP proxy that cuts chosen connections at their COMMIT, before it or before its answer.

Before: the server rolls back. After: it did it, and the client never hears. The proxy understands
as much of PostgreSQL's protocol (version 3) as it takes to know the statements of a connection's
transaction, and where the answer to its COMMIT ends.
"""

from __future__ import annotations

import asyncio
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
COMMIT = re.compile(r"\bCOMMIT\s*;?\s*$", re.IGNORECASE)
CONTROL = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK)\b[^;]*;?\s*$", re.IGNORECASE)
HANG_UP_SECONDS = 0.05
OF_THE_DRIVER = re.compile(r"typeinfo_tree|current_setting\('jit'\)")
"""asyncpg looks up types on a new connection, in the middle of whatever comes first."""


@dataclass
class Transaction:
    """What a connection did since it was last idle: where, and with which statements."""

    database: str
    statements: list[str] = field(default_factory=list)

    def has(self, *parts: str) -> bool:
        """Whether one of its statements holds all of these."""
        return any(all(part in text for part in parts) for text in self.statements)


@dataclass
class Cut:
    """Cut the next `wanted` connections that commit something of which `which` is true."""

    which: Callable[[Transaction], bool]
    wanted: int = 1
    before: bool = False
    """Whether the COMMIT itself never arrives; else it is its answer."""
    begun: int = 0
    made: list[Transaction] = field(default_factory=list)
    """Their COMMIT, or the answer that confirmed it, was read here and went no further."""


class CommitProxy:
    """Listens on this machine and passes everything on to PostgreSQL's socket."""

    def __init__(self, socket_file: Path) -> None:
        self.port = 0
        self.open_connections = 0
        self._socket_file = socket_file
        self._cut: Cut | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, place: Path | None = None) -> None:
        """Listen from now on: on a port of its own, or on a socket at this place."""
        if place is not None:
            self._server = await asyncio.start_unix_server(self._serve, place)
            place.chmod(0o777)  # as PostgreSQL's own
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no longer; who is connected stays so."""
        assert self._server is not None
        self._server.close()

    async def hang_up(self) -> None:
        """End every connection there is; returns when all have ended."""
        await asyncio.sleep(HANG_UP_SECONDS)  # what was accepted just now is served by then
        while self._clients:
            for client in self._clients:
                client.transport.abort()
            await asyncio.sleep(HANG_UP_SECONDS)

    def lose_answers(self, which: Callable[[Transaction], bool], wanted: int = 1) -> Cut:
        """From now on, in place of what was asked for before."""
        self._cut = Cut(which, wanted)
        return self._cut

    def lose_requests(self, which: Callable[[Transaction], bool], wanted: int = 1) -> Cut:
        """The same for COMMITs that never arrive."""
        self._cut = Cut(which, wanted, before=True)
        return self._cut

    def cut_of(self, transaction: Transaction) -> Cut | None:
        """Whether to cut the connection of this one, whose COMMIT is about to be passed on."""
        cut = self._cut
        if cut is None or cut.begun >= cut.wanted or not cut.which(transaction):
            return None
        cut.begun += 1
        return cut

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._clients.add(answers)
        try:
            server, requests = await asyncio.open_unix_connection(self._socket_file)
        except OSError:  # the server is down
            self._clients.remove(answers)
            answers.transport.abort()
            return
        self.open_connections += 1
        try:
            await _Connection(self, client, requests, server, answers).run()
        finally:
            self.open_connections -= 1
            self._clients.remove(answers)
            for side in (requests, answers):
                side.transport.abort()


class _Connection:
    """One client and its own connection to the server."""

    def __init__(
        self,
        proxy: CommitProxy,
        client: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._requests = client, requests
        self._server, self._answers = server, answers
        self._transaction = Transaction("")
        self._prepared: dict[bytes, str] = {}
        self._asked = 1  # the start-up is answered by the first ReadyForQuery
        self._answered = 0
        self._cut: Cut | None = None
        self._cut_at = 0
        """The number of the ReadyForQuery behind the COMMIT whose answer is lost."""

    async def run(self) -> None:
        """Until either side closes, or the cut."""
        directions = [asyncio.create_task(self._forth()), asyncio.create_task(self._back())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _forth(self) -> None:
        await self._start_up()
        while True:
            head = await self._client.readexactly(5)
            body = await self._client.readexactly(struct.unpack_from("!I", head, 1)[0] - 4)
            self._look(head[:1], body)
            if self._cut is not None and self._cut.before:
                self._cut.made.append(self._transaction)
                return
            self._requests.write(head + body)
            await self._requests.drain()

    async def _start_up(self) -> None:
        while True:
            head = await self._client.readexactly(8)
            length, code = struct.unpack("!II", head)
            body = await self._client.readexactly(length - 8)
            if code not in {SSL_REQUEST, GSS_REQUEST}:
                break
            self._answers.write(b"N")
        if code != CANCEL_REQUEST:
            fields = body.split(b"\0")
            self._transaction.database = fields[fields.index(b"database") + 1].decode()
        self._requests.write(head + body)

    def _look(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode()
        elif kind == b"B":
            self._statement(self._prepared[body.split(b"\0", 2)[1]], self._asked + 1)
        elif kind == b"Q":
            self._asked += 1
            self._statement(body[:-1].decode(), self._asked)
        elif kind == b"S":
            self._asked += 1

    def _statement(self, text: str, answered_by: int) -> None:
        if not CONTROL.match(text) and not OF_THE_DRIVER.search(text):
            self._transaction.statements.append(text)
        if COMMIT.search(text) and self._cut is None:
            self._cut = self._proxy.cut_of(self._transaction)
            self._cut_at = answered_by

    async def _back(self) -> None:
        held = b""
        while True:
            head = await self._server.readexactly(5)
            body = await self._server.readexactly(struct.unpack_from("!I", head, 1)[0] - 4)
            self._answered += head[:1] == b"Z"
            if self._cut is not None:
                held += head + body
                if self._answered >= self._cut_at:
                    assert b"COMMIT\0" in held, "the server did not commit"
                    self._cut.made.append(self._transaction)
                    return
                continue
            if head[:1] == b"Z" and body == b"I":
                self._transaction = Transaction(self._transaction.database)
            self._answers.write(head + body)
            await self._answers.drain()
