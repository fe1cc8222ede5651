"""A service's database goes back to what a backup holds, while the others have gone on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from tests.acceptance.books import audited
from tests.acceptance.processes import OFFSETS

from waybill.operations.audit import AuditOptions
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.site import Site

    from waybill.operations.audit import Report

ROWS_MAX = 10_000
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Backup:
    """One database as pg_dump saw it in one instant, while everything ran."""

    service: str
    file: Path
    taken_at: float

    @classmethod
    def take(cls, site: Site, service: str) -> Backup:
        """Dump it."""
        file = site.data.parent / f"{service}.dump"
        began = time.monotonic()
        run(site, "pg_dump", "--format", "custom", "--file", str(file), database_of(service))
        return cls(service, file, began)

    def restore(self, site: Site) -> None:
        """Put it in the database's place; its own service is stopped meanwhile, no other is."""
        assert site.services[self.service].stop() == 0
        site.superuser(f"DROP DATABASE {database_of(self.service)} WITH (FORCE)")
        run(site, "pg_restore", "--create", "--dbname", "postgres", str(self.file))
        site.services[self.service].start()


def run(site: Site, program: str, *arguments: str) -> None:
    """A program of PostgreSQL's as the superuser."""
    url = urlsplit(site.server.url())
    environment = {
        **os.environ,
        "PGHOST": parse_qs(url.query)["host"][0],
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
    }
    command = [str(installed_programs() / program), *arguments]
    subprocess.run(command, env=environment, check=True, timeout=120)


def restored(site: Site, service: str, *, orders: int, seconds: float) -> None:
    """Lose what a service wrote while so many orders came in and so much time went by."""
    backup = Backup.take(site, service)
    before = site.value(service, HELD)
    site.accept(orders)
    time.sleep(max(0.0, backup.taken_at + seconds - time.monotonic()))  # how old a backup is
    assert site.value(service, HELD) > before, "the lost window held something"
    backup.restore(site)


HELD = "SELECT count(*) FROM messaging.inbox"


def orders_named(report: Report, known: set[str]) -> tuple[set[str], set[str]]:
    """Known orders that violations name, and the rules with a row that names none."""
    named, sums = set(), set()
    for rule in report.violated:
        assert rule.violations == len(rule.rows), "all rows are shown"
        for each in rule.rows:
            ids = set(UUID.findall(" ".join(value or "" for value in each.row.values()))) & known
            named |= ids
            if not ids:
                sums.add(rule.id)
    return named, sums


def audit_all(site: Site, seconds: float) -> Report:
    """Every violation there is."""
    options = AuditOptions(
        settle_seconds=seconds, history=site.customers.history(), rows_max=ROWS_MAX
    )
    return audited(site.data, options)
