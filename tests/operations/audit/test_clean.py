"""Books that nobody tampered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.operations.audit.filled import audited

from waybill.operations.audit import Outcome

if TYPE_CHECKING:
    from tests.operations.audit.filled import Filled


def test_untouched_books_are_clean(filled: Filled) -> None:
    """P12: orders of every kind, dead letters of every verdict, and no rule is violated."""
    report = audited(filled.urls())
    assert report.exit_status == 0, report.told()
    assert report.quiescent
    assert report.waiting == {"open dead letters of inventory-service": 1}
    assert not any(rule.outcome is Outcome.NOT_RUN for rule in report.rules)
