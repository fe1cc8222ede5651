"""A process with one relay, whose log is a file: one line a record, a run in one write.

`python -m tests.messaging.postgres.relay_process URL FILE`; tests kill it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from tests.messaging.postgres.relay_world import FAST, RelayWorld

from waybill.messaging.core.errors import UnsendableError
from waybill.messaging.core.ports import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.message import Record

VALUE_BYTES_MAX = 100
SLOW_SECONDS = 0.005
"""A run's acknowledgement takes so long: most kills meet records under way."""


class FileLogWriter:
    """Implements `LogWriter`: what was written survives SIGKILL."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def identity(self) -> str:
        """As the world's log."""
        return "memory"

    async def write(self, records: Sequence[Record]) -> Written:
        """Append them at once, acknowledge later; what is too large never."""
        sizes = [len(r.message.value) for r in records]
        small = next((n for n, size in enumerate(sizes) if size > VALUE_BYTES_MAX), len(records))
        lines = [f"{r.message.key} {r.message.id}\n" for r in records[:small]]
        os.write(self._file, "".join(lines).encode())
        await asyncio.sleep(SLOW_SECONDS)
        return Written(small, UnsendableError("too large") if small < len(records) else None)

    async def purge(self) -> None:
        """Nothing is queued."""

    async def close(self) -> None:
        """The process ends anyway."""


async def main(url: str, path: str) -> None:
    """Until SIGKILL."""
    world = RelayWorld(url)
    await world.open()
    await world.start(FAST, writer=FileLogWriter(path))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
