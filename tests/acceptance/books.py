"""The books of a platform, proven by its own audit once every order has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.acceptance.database import value

from waybill.blueprints.catalogue import DEFAULT
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.operations.audit import AuditOptions, audit
from waybill.platform.databases import databases_of, urls_of
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.processes import PlatformProcess

    from waybill.blueprints.definition import Blueprint
    from waybill.operations.audit import Report

UNSETTLED = "SELECT count(*) FROM app.orders WHERE settled_at IS NULL"


def audited(data: Path, options: AuditOptions) -> Report:
    """What `waybill audit` finds in the databases of this data directory, as its own roles."""
    server = EmbeddedPostgres(data)
    names = databases_of(options.blueprint)
    urls = {name: urls_of(server, name).auditor for name in names}
    return asyncio.run(audit(urls, options))


def assert_balanced(
    platform: PlatformProcess,
    seconds: float = 90,
    *,
    history: Path | None = None,
    may_wait: bool = False,
    topics: bool = True,
    blueprint: Blueprint = DEFAULT,
    elsewhere: frozenset[str] = frozenset(),
) -> Report:
    """Every invariant that applies holds, within so many seconds; the report.

    Nothing may wait for an operator, unless `may_wait`: then it must at least be visible as that.
    On Kafka the topics are read as well, if `topics`; `elsewhere` somebody else keeps the books.
    """
    kafka = KafkaSettings.from_environment(platform.environment) if topics else None
    options = AuditOptions(
        blueprint=blueprint,
        settle_seconds=seconds,
        history=history,
        kafka=kafka,
        elsewhere=elsewhere,
    )
    report = audited(platform.data, options)
    rows = [(rule.id, each.row, each.look_at) for rule in report.violated for each in rule.rows]
    assert report.exit_status == 0, f"{report.told()}\n{rows}"
    assert may_wait or not report.waiting, report.waiting
    return report


def at_rest(data: Path) -> bool:
    """Nothing is under way: no open order, no held stock, no call that is owed."""
    if value(data, "order", UNSETTLED):
        return False
    if value(data, "inventory", "SELECT sum(reserved) FROM app.products"):
        return False
    owed = "SELECT count(*) FROM messaging.deliveries WHERE state = 'PENDING'"
    if value(data, "payment", owed) or value(data, "notification", owed):
        return False
    told = value(data, "notification", "SELECT count(*) FROM app.notifications")
    return bool(told == value(data, "order", "SELECT count(*) FROM app.orders"))
