"""What `waybill audit --prometheus FILE` leaves for Prometheus, and what alerts make of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from tests.observability.files import alerts, selectors

from waybill.operations.audit.exposition import write_exposition
from waybill.operations.audit.report import Outcome, Report, RuleResult

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 1, 2, 3, tzinfo=UTC)


def report_of(*rules: tuple[str, Outcome, int]) -> Report:
    """An audit of these outcomes."""
    return Report(
        blueprint="choreography",
        rules=tuple(
            RuleResult(id=id_, kind="Q", title="t", outcome=outcome, violations=count)
            for id_, outcome, count in rules
        ),
        quiescent=True,
        waiting={},
        seconds=1.0,
    )


def samples(path: Path) -> dict[tuple[str, str], float]:
    """By name and rule."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, sample.labels.get("rule", "")): sample.value
        for family in families
        for sample in family.samples
    }


def test_rules_that_were_looked_at_are_told_and_alerts_find_them(tmp_path: Path) -> None:
    """A rule that does not apply has no series: 0 would say that it holds."""
    path = tmp_path / "audit.prom"
    report = report_of(
        ("I01", Outcome.DOES_NOT_APPLY, 0), ("I30", Outcome.CLEAN, 0), ("I16", Outcome.VIOLATED, 7)
    )
    assert write_exposition(report, path, AT)
    assert samples(path) == {
        ("audit_violations", "I30"): 0,
        ("audit_violations", "I16"): 7,
        ("audit_finished_timestamp_seconds", ""): AT.timestamp(),
    }
    wanted = {name for each in alerts() if each.audit for name in selectors(each.expression)}
    assert wanted == {name for name, _ in samples(path)}


def test_an_audit_that_could_not_look_leaves_the_last_one(tmp_path: Path) -> None:
    """Its age grows until AuditOld tells of it."""
    path = tmp_path / "audit.prom"
    path.write_text("before")
    assert not write_exposition(report_of(("I03", Outcome.NOT_RUN, 0)), path, AT)
    assert path.read_text() == "before"
