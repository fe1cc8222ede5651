"""A service's database goes back to what a backup holds, while the others have gone on."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.acceptance.books import audited
from tests.acceptance.processes import wait_for
from tests.faults.site import END_SECONDS, QUIET_SECONDS

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.operations.audit import AuditOptions
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.site import Site

    from waybill.operations.audit import Report

APPLIED = "SELECT count(*) FROM messaging.inbox"
ROWS_MAX = 10_000
ORDERS = "SELECT id FROM app.orders"
SENT = """
SELECT o.id FROM messaging.outbox AS o
JOIN messaging.outbox_lane AS l ON l.lane = o.lane AND o.seq <= l.position
"""
KEPT = "SELECT id FROM messaging.outbox"
LEFT = {
    "I33": ("inventory", "SELECT order_id FROM app.reservations WHERE status <> 'RELEASED'"),
    "I35": ("provider", "SELECT order_id FROM app.charges WHERE outcome = 'CAPTURED'"),
    "I37": ("provider", "SELECT order_id FROM app.charges WHERE outcome = 'CAPTURED'"),
    "I42": ("notification", "SELECT order_id FROM app.notifications"),
}
"""What an order leaves in other databases, and the rule that misses the order there."""


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
        """Put it in the database's place, which its own service has left; no other stops."""
        site.superuser(f"DROP DATABASE {database_of(self.service)} WITH (FORCE)")
        run(site, "pg_restore", "--create", "--dbname", "postgres", str(self.file))


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


def restored(site: Site, service: str, window: Window) -> float:
    """A service's database is what it was before the window; the others' are as they are.

    Orders that were in the orders' database, and are not any more, are `site.lost`; what the
    restored outbox had sent is in `site.sent`. The instant of the restore: then the service starts.
    """
    backup = Backup.take(site, service)
    before = site.value(service, APPLIED)
    site.accept(window.orders, END_SECONDS)
    time.sleep(max(0.0, backup.taken_at + window.seconds - time.monotonic()))
    what = "the lost window holds something"
    wait_for(lambda: site.value(service, APPLIED) > before, END_SECONDS, what)
    assert site.services[service].stop() == 0
    held = ids(site, "order", ORDERS)
    site.sent.setdefault(service, set()).update(ids(site, service, SENT))
    backup.restore(site)
    site.lost |= held - ids(site, "order", ORDERS)
    return site.come_back(service)


def ids(site: Site, service: str, statement: str) -> set[str]:
    """The first column of a statement's rows in a service's database."""
    return {str(next(iter(row.values()))) for row in site.rows(service, statement)}


def left_by(site: Site) -> dict[str, set[str]]:
    """By rule: what is left of the lost windows where nothing was restored."""
    kept = {rule: ids(site, service, rows) & site.lost for rule, (service, rows) in LEFT.items()}
    # Told to a customer, and not there.
    kept["I01"] = site.lost & set(site.customers.accepted.values())
    kept["I38"] = {"EUR"} if kept["I37"] else set()
    kept["I17"] = forgotten(site)
    return {rule: names for rule, names in kept.items() if names}


def forgotten(site: Site) -> set[str]:
    """Messages that the topics have, and the outboxes that had sent them no longer."""
    gone = [sent - ids(site, service, KEPT) for service, sent in site.sent.items()]
    return set().union(*gone) if site.kafka else set()


def assert_books(site: Site) -> Report:
    """The audit names what the lost windows held and nothing else, and nobody must do anything."""
    report = audit_all(site, QUIET_SECONDS)
    assert named(report) == left_by(site)
    assert not report.waiting
    return report


def named(report: Report) -> dict[str, set[str]]:
    """By violated rule: the order that each row names, the message, or the currency of a sum."""
    found: dict[str, set[str]] = {}
    for rule in report.violated:
        assert rule.violations == len(rule.rows), "all rows are shown"
        found[rule.id] = set()
        for each in rule.rows:
            names = (each.row.get(column) for column in ("order_id", "message_id", "currency"))
            found[rule.id].add(next((str(name) for name in names if name), str(each.row)))
    return found


def rows_of(report: Report, rule_id: str) -> list[dict[str, Any]]:
    """A rule's violations; none if it holds."""
    return [dict(each.row) for rule in report.violated if rule.id == rule_id for each in rule.rows]


def sum_of(report: Report, rule_id: str, column: str) -> Decimal:
    """A column of a rule's violations, added up."""
    return sum((Decimal(row[column] or 0) for row in rows_of(report, rule_id)), Decimal(0))


def audit_all(site: Site, seconds: float) -> Report:
    """Every violation there is; on Kafka in its topics, too, as an operator's audit sees them."""
    options = AuditOptions(
        settle_seconds=seconds,
        history=site.customers.history(),
        kafka=KafkaSettings.from_environment(site.order.environment),
        rows_max=ROWS_MAX,
    )
    return audited(site.data, options)
