"""The hint to readers in other processes that an outbox has grown (protocol D7).

NOTIFY takes a lock of the whole server at COMMIT, so it never rides on the transaction of a unit:
it is sent afterwards, one for all commits that happened while the last one was on its way. It may
be lost; readers poll.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres.source import CHANNEL
from waybill.messaging.core.errors import MessagingError

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

logger = logging.getLogger(__name__)

_NOTIFY = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')
"""


class Notifier:
    """Hints to other processes; ring it beside the doorbell of this one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due = False
        self._sending: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Send a hint soon. Never blocks; only from the event loop's own thread."""
        self._due = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())
            self._sending.add_done_callback(self._sent)

    async def close(self) -> None:
        """Wait for the last hint. May be repeated."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def _send(self) -> None:
        while self._due:
            self._due = False
            try:
                await self._database.fetch(_NOTIFY, CHANNEL)
            except MessagingError as error:
                logger.debug("hint not sent: %s", error)

    def _sent(self, _task: asyncio.Task[None]) -> None:
        self._sending = None
        if self._due:
            self.ring()
