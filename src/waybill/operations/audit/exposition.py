"""An audit's outcome in a file, in Prometheus's format: the order service shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from waybill.operations.audit.report import COULD_NOT_RUN, Outcome

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from waybill.operations.audit.report import Report

LOOKED_AT = (Outcome.CLEAN, Outcome.VIOLATED)


def write_exposition(report: Report, path: Path, now: datetime) -> bool:
    """Replace the file at once; False, and the file as it was, if not all could be looked at.

    So the time in it is that of the last whole audit, and the alert AuditOld tells of its age.
    """
    if report.exit_status == COULD_NOT_RUN:
        return False
    registry = CollectorRegistry()
    violations = Gauge(
        "audit_violations", "Rows that break a rule of the audit", ["rule"], registry=registry
    )
    for rule in report.rules:
        if rule.outcome in LOOKED_AT:
            violations.labels(rule.id).set(rule.violations)
    finished = Gauge(
        "audit_finished_timestamp_seconds", "When the last whole audit ended", registry=registry
    )
    finished.set(now.timestamp())
    write_to_textfile(str(path), registry)
    return True
