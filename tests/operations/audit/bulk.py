"""Bulk-loads confirmed orders by SQL, as a real run would have left them, and times the audit.

Run it: `python -m tests.operations.audit.bulk 100000`.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from tests.acceptance.processes import free_port_base
from tests.operations.audit.filled import execute, value

from waybill.operations.audit import AuditOptions, Kind, audit
from waybill.operations.audit.table import show_report
from waybill.platform.composition import Platform
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, SIMULATOR, database_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

REGISTER_SECONDS = 2.0
"""By then every reader of an idle platform has registered at its sources."""

ENDS = """
SELECT array_agg(coalesce(last.seq, 0) ORDER BY lane.lane)::text
FROM generate_series(0, 16) AS lane (lane) LEFT JOIN (
    SELECT lane, max(seq) AS seq FROM messaging.outbox GROUP BY lane
) AS last ON last.lane = lane.lane
"""


def sections() -> dict[str, str]:
    """The parts of bulk.sql by name."""
    text = Path(__file__).with_name("bulk.sql").read_text()
    parts = (part.partition("\n") for part in text.split("-- section: ")[1:])
    return {name.strip(): body for name, _, body in parts}


async def load(server: EmbeddedPostgres, count: int) -> None:
    """Write so many orders, then put every reader at the end of what it reads."""
    parts = sections()
    for service in SERVICES:
        append = parts["append"] if service != SIMULATOR else ""
        orders = parts[service].replace(":count", str(count))
        url = server.url(database_of(service))
        await execute(url, [parts["ids"] + append + orders, "VACUUM ANALYZE", "CHECKPOINT"])
    services = [service for service in SERVICES if service != SIMULATOR]
    for source in services:
        ends = f"'{await value(server.url(database_of(source)), ENDS)}'"
        reported = f"UPDATE messaging.outbox_reader SET positions = {ends}"  # noqa: S608 - our own
        await execute(server.url(database_of(source)), [reported])
        own = f"UPDATE messaging.consumer_source SET positions = {ends} WHERE source = "  # noqa: S608 - our own
        for consumer in services:
            await execute(server.url(database_of(consumer)), [f"{own} '{source}-service'"])


async def provisioned(server: EmbeddedPostgres, data: Path) -> None:
    """A platform ran here for a moment."""
    settings = Settings.load(data_directory=data, port_base=free_port_base())
    async with Platform(settings, server):
        await asyncio.sleep(REGISTER_SECONDS)


async def timed(urls: Mapping[str, str], kind: Kind) -> None:
    """Look at the rules of one kind; what it took."""
    console = Console(width=120)
    report = await audit(urls, AuditOptions(kinds=frozenset((kind,))))
    show_report(report, console)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    console.print(f"kind {kind.value}: {report.seconds:.1f} s, {peak} MB at most")


def main() -> None:
    """See the module."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="audit-bulk-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)
        with EmbeddedPostgres(directory / "data") as server:
            asyncio.run(provisioned(server, directory / "data"))
            asyncio.run(load(server, count))
            urls = {service: server.url(database_of(service)) for service in SERVICES}
            for kind in (Kind.ALWAYS, Kind.QUIESCENT):
                asyncio.run(timed(urls, kind))


if __name__ == "__main__":
    main()
