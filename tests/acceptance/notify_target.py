"""Who is notified: an HTTP server in a thread of this process, up, down, slow or refusing."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from waybill.commerce.testing.http_server import Asked, Fault, Reply, TryServer

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _Server(TryServer):
    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.effects: list[str] = []

    def reply(self, asked: Asked) -> Reply:
        """Notified once a key."""
        key = asked.headers["idempotency-key"]
        if self.status < 300 and key not in self.effects:
            self.effects.append(key)
        return Reply(self.status, b"Notified successfully")


class Target:
    """It listens on the same port whenever it is up."""

    def __init__(self) -> None:
        self._server = _Server()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()
        self.url = self._server.url

    @property
    def asked(self) -> list[Asked]:
        """Every request that came, in order."""
        return list(self._server.asked)

    @property
    def effects(self) -> list[str]:
        """The keys that it took."""
        return list(self._server.effects)

    def answer(self, status: int) -> None:
        """From now on."""
        self._server.status = status

    def hang(self, requests: int) -> None:
        """Take effect and never answer, so often."""
        self._server.faults.extend([Fault.HANG_AFTER_WORK] * requests)

    def start(self) -> None:
        """Come back."""
        self._run(self._server.start())

    def stop(self) -> None:
        """Go away."""
        self._run(self._server.stop())

    def close(self) -> None:
        """End the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, what: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
