"""A TCP port in front of another one, which can be shut: whoever is behind it is away then."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536


class Gate:
    """Open, it passes bytes on; shut, it refuses connections and cuts those there are."""

    def __init__(self, behind: int = 0) -> None:
        self.port = 0
        self.behind = behind
        """Where it leads; to be set before the first connection."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Of what is behind it; it must have been open once."""
        return f"http://{HOST}:{self.port}"

    async def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse and cut. May be repeated."""
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
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
