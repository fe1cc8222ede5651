"""No clean audit, no number: the check behind every throughput of Waybill's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from waybill.operations.audit import AuditOptions, audit
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.provisioning import SERVICES, database_of

if TYPE_CHECKING:
    from pathlib import Path

SETTLE_SECONDS: Final = 60.0
CLEAN: Final = 0


class AuditFailedError(Exception):
    """The books do not balance: what was measured is no throughput."""


async def prove(data: Path) -> None:
    """Audit the platform that runs on these data. Raises AuditFailedError."""
    server = EmbeddedPostgres(data)
    urls = {service: server.url(database_of(service)) for service in SERVICES}
    report = await audit(urls, AuditOptions(settle_seconds=SETTLE_SECONDS))
    if report.exit_status != CLEAN:
        rows = [violation for rule in report.violated for violation in rule.rows[:2]]
        raise AuditFailedError(f"{report.told()}: {rows}")
