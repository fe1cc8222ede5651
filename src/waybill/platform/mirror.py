"""The audit of databases on MariaDB or MySQL: its rules on a copy in a PostgreSQL of its own.

So each rule has one text, and is the one that tests plant violations for. A database is copied from
one consistent snapshot. Rules that compare databases count only if nothing moved in any of them
while they were copied (protocol A1). What is copied lies in a temporary directory, which goes.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.adapters.mysql.snapshot import Snapshot
from waybill.messaging.adapters.postgres import migrate as messaging
from waybill.messaging.core.errors import TransientError
from waybill.operations.audit import Kind, audit
from waybill.platform.databases import urls_of
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.mirrored import fill, marks
from waybill.platform.own_databases import database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.messaging.core.ports import Row
    from waybill.operations.audit import AuditOptions, Report
    from waybill.platform.own_databases import OwnDatabases

POLL_SECONDS: Final = 0.5
PARTITION_ROWS: Final = 1_000_000_000
"""Of the copy's outbox: every number that a row may have fits."""


async def audit_mirrored(
    own: OwnDatabases, options: AuditOptions, progress: Callable[[str], None]
) -> Report:
    """The audit's report; waits for quiescence as `audit` does. Writes nothing on their servers.

    Raises TransientError if something moves all the time, and rules at rest are asked for.
    """
    services = sorted(service.database for service in options.blueprint.services.values())
    services = [service for service in services if service not in options.elsewhere]
    with tempfile.TemporaryDirectory(prefix="waybill-audit-") as place:
        os.chmod(place, 0o711)  # noqa: PTH101, S103 - the server's own user passes through
        async with EmbeddedPostgres(Path(place) / "mirror") as server:
            urls = {service: await _empty(server, service) for service in services}
            mirror = _Mirror(own, urls, options, progress)
            return await mirror.audit()


async def _empty(server: EmbeddedPostgres, service: str) -> str:
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(f"CREATE DATABASE {database_of(service)}")
    finally:
        await connection.close()
    url = server.url(database_of(service))
    await messaging.upgrade(url, partition_rows=PARTITION_ROWS)
    await commerce.upgrade(url, service)
    return url


class _Mirror:
    def __init__(
        self,
        own: OwnDatabases,
        urls: dict[str, str],
        options: AuditOptions,
        progress: Callable[[str], None],
    ) -> None:
        self._theirs = {service: urls_of(own, service).auditor for service in urls}
        self._urls = urls
        self._options = options
        self._progress = progress

    async def audit(self) -> Report:
        """Copy and look, until nothing is under way or the time is over."""
        options = self._options
        began = still_since = time.monotonic()
        last: object = None
        while True:
            self._progress("copying the databases")
            async with AsyncExitStack() as stack:
                before, after = await self._copy(stack)
            now = time.monotonic()
            if before != after or after != last:
                still_since, last = now, after
            stranded = now - still_since >= options.still_seconds
            left = began + options.settle_seconds - now
            moved = before != after and Kind.QUIESCENT in options.kinds
            if not moved:
                still = 0.0 if stranded else options.still_seconds
                limited = replace(options, settle_seconds=0.0, still_seconds=still)
                report = await audit(self._urls, limited, progress=self._progress)
                if report.quiescent is not False or stranded or left <= 0:
                    return report
            elif left <= 0:
                raise TransientError(
                    "something moved while the databases were copied: wait with --settle SECONDS"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _copy(self, stack: AsyncExitStack) -> tuple[object, object]:
        """What tells of any activity, before and after the snapshots were taken."""
        snapshots: dict[str, Snapshot] = {}
        for service, url in self._theirs.items():
            snapshots[service] = await Snapshot.open(url)
            stack.push_async_callback(snapshots[service].close)
        # Reports are read before the snapshots: they follow what they tell of.
        before = [await marks(each) for each in snapshots.values()]
        reported: dict[str, Iterable[Row]] = {
            service: await each.fetch("SELECT * FROM messaging_outbox_reader")
            for service, each in snapshots.items()
        }
        for each in snapshots.values():
            await each.begin()
        for service, each in snapshots.items():
            await fill(self._urls[service], each, reported[service])
        looking = [await Snapshot.open(url) for url in self._theirs.values()]
        for each in looking:
            stack.push_async_callback(each.close)
        return before, [await marks(each) for each in looking]
