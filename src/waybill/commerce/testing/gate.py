"""A TCP port in front of another one: the way to somebody who can become unreachable."""

from __future__ import annotations

import asyncio
from contextlib import suppress

HOST = "127.0.0.1"
READ_BYTES_MAX = 65_536


class Gate:
    """Open, it passes everything on. Shut, it refuses connections and cuts those there are.

    `port` is where it listens, the same after `shut` and `open`; `behind` where it leads, to be set
    before the first connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.behind = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse and cut."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, onward = await asyncio.open_connection(HOST, self.behind)
        except OSError:
            writer.close()
            return
        self._open |= {writer, onward}
        await asyncio.gather(_pass_on(reader, onward), _pass_on(behind, writer))
        self._open -= {writer, onward}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(READ_BYTES_MAX):
            writer.write(data)
            await writer.drain()
    writer.close()
