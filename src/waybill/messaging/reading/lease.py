"""Keeps a consumer's lease and tells the sources how far they were read, beside the consumer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import MessagingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from waybill.messaging.reading.ports import PositionStore
    from waybill.messaging.reading.reader import SourceReader
    from waybill.messaging.reading.settings import LogSettings

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3


class LeaseKeeper:
    """Renews while it holds a token, idle or not; `token` is None once another member took over."""

    def __init__(
        self,
        store: PositionStore,
        readers: Mapping[str, SourceReader],
        settings: LogSettings,
        monotonic: Callable[[], float],
    ) -> None:
        self.token: UUID | None = None
        self.failure: BaseException | None = None
        """What ended the loop, if anything did: a bug, never an outage."""
        self._store = store
        self._readers = readers
        self._settings = settings
        self._monotonic = monotonic
        self._loop: asyncio.Task[None] | None = None
        self._reports: dict[str, asyncio.Task[None]] = {}
        self._reported_at: dict[str, float] = {}
        self._unreported: set[str] = set()

    def hold(self, token: UUID) -> None:
        """Keep this token from now on."""
        self.token = token
        if self._loop is None:
            self._loop = asyncio.create_task(self._run())
            self._loop.add_done_callback(self._ended)

    def report_soon(self, source: str) -> None:
        """There is something new to report to this source."""
        self._unreported.add(source)

    async def close(self) -> None:
        """Report a last time and hand the lease back, if the databases answer in time."""
        token, self.token = self.token, None
        tasks = [*self._reports.values(), *([self._loop] if self._loop else [])]
        self._loop = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if token is None:
            return
        with suppress(TimeoutError, MessagingError):
            async with asyncio.timeout(self._settings.close_timeout_seconds):
                await self._store.release(token)
                for source in sorted(self._unreported):
                    await self._readers[source].report(token)

    async def _run(self) -> None:
        renewal = self._settings.lease_seconds / RENEWALS_A_LEASE
        step = min(renewal, self._settings.report_seconds)
        renew_at = self._monotonic() + renewal
        while True:
            await asyncio.sleep(step)
            now = self._monotonic()
            if now >= renew_at:
                renew_at = now + renewal
                await self._renew()
            if self.token is not None:
                self._report(now, self.token)

    async def _renew(self) -> None:
        token = self.token
        if token is None:
            return
        try:
            held = await self._store.renew(token, self._settings.lease_seconds)
        except MessagingError as error:
            logger.debug("lease not renewed: %s", error)
            return
        if not held and self.token == token:
            self.token = None

    def _report(self, now: float, token: UUID) -> None:
        for name, reader in self._readers.items():
            task = self._reports.get(name)
            if task is not None and not task.done():
                continue
            age = now - self._reported_at.get(name, 0.0)
            if name not in self._unreported and age < self._settings.heartbeat_seconds:
                continue
            self._unreported.discard(name)
            self._reported_at[name] = now
            self._reports[name] = asyncio.create_task(self._report_one(reader, token))

    async def _report_one(self, reader: SourceReader, token: UUID) -> None:
        if not await reader.report(token):
            self._unreported.add(reader.name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.failure = task.exception()
