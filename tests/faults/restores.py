"""A service's database goes back to what a backup holds, while the others have gone on."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from tests.acceptance.books import audited
from tests.faults.site import END_SECONDS

from waybill.operations.audit import AuditOptions
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.site import Site

    from waybill.operations.audit import Report

APPLIED = "SELECT count(*) FROM messaging.inbox"
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


@dataclass(frozen=True)
class Window:
    """What is lost: so many orders at least, and the time since a backup that is so old."""

    orders: int
    seconds: float


def restored(site: Site, service: str, window: Window) -> None:
    """A service's database is what it was before the window; the others' are as they are."""
    backup = Backup.take(site, service)
    before = site.value(service, APPLIED)
    site.accept(window.orders, END_SECONDS)
    time.sleep(max(0.0, backup.taken_at + window.seconds - time.monotonic()))
    assert site.value(service, APPLIED) > before, "the lost window held something"
    backup.restore(site)


def named(report: Report, known: set[str]) -> tuple[set[str], set[str], set[str]]:
    """Orders that violations name: by a client's history, and by the books; rules of sums."""
    by_history, by_books, sums = set[str](), set[str](), set[str]()
    for rule in report.violated:
        assert rule.violations == len(rule.rows), "all rows are shown"
        for each in rule.rows:
            ids = set(UUID.findall(" ".join(value or "" for value in each.row.values())))
            (by_history if rule.kind == "H" else by_books).update(ids & known)
            if not ids:
                sums.add(rule.id)
    return by_history, by_books, sums


def kept_too_much(report: Report) -> Decimal:
    """By I38: money that was kept beyond what confirmed orders are worth."""
    return sum_of(report, "I38", "kept") - sum_of(report, "I38", "confirmed")


def captured_for_nobody(report: Report) -> Decimal:
    """By I37: the same, order by order."""
    return sum_of(report, "I37", "kept") - sum_of(report, "I37", "due")


def sum_of(report: Report, rule_id: str, column: str) -> Decimal:
    """A column of a rule's violations, added up."""
    (rule,) = [each for each in report.violated if each.id == rule_id]
    return sum((Decimal(each.row[column] or 0) for each in rule.rows), Decimal(0))


def audit_all(site: Site, seconds: float) -> Report:
    """Every violation there is."""
    options = AuditOptions(
        settle_seconds=seconds, history=site.customers.history(), rows_max=ROWS_MAX
    )
    return audited(site.data, options)
