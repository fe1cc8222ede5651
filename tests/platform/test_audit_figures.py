"""What an audit wrote is shown among metrics; one that was asked for and never ended is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.platform.audit_figures import NAME, audit_collector
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = """# HELP audit_violations Rows that break a rule of the audit
# TYPE audit_violations gauge
audit_violations{rule="I30"} 0.0
audit_violations{rule="I42"} 2.0
# HELP audit_finished_timestamp_seconds When the last whole audit ended
# TYPE audit_finished_timestamp_seconds gauge
audit_finished_timestamp_seconds 1.7e+09
# TYPE up gauge
up 1
"""
NEVER = {"audit_finished_timestamp_seconds": 0.0}


def shown(settings: Settings) -> dict[str, float]:
    """The samples, by name and rule."""
    families = audit_collector(settings).collect()
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([each.name, *each.labels.values()]): each.value for each in samples}


def test_a_file_in_the_data_folder_is_shown_and_nothing_of_it_that_is_not_ours(
    tmp_path: Path,
) -> None:
    """Without one nobody asked for audits, and no series says that they are missing."""
    settings = Settings.load(data_directory=tmp_path)
    assert shown(settings) == {}
    (tmp_path / NAME).write_text(WRITTEN)
    assert shown(settings) == {
        "audit_violations I30": 0.0,
        "audit_violations I42": 2.0,
        "audit_finished_timestamp_seconds": 1.7e9,
    }


@pytest.mark.parametrize("text", [None, "", "audit_violations{rule=", "\x00 1 2 3 4"])
def test_a_file_that_was_asked_for_and_tells_nothing_is_an_audit_of_1970(
    tmp_path: Path, text: str | None
) -> None:
    """So AuditOld fires where no audit ever ran, or where it cannot be read."""
    file = tmp_path / "asked.prom"
    settings = Settings.load(data_directory=tmp_path, audit_file=file)
    if text is not None:
        file.write_text(text)
    assert shown(settings) == NEVER
