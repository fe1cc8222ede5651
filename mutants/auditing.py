"""Faults of the audit: a blind one is worse than none."""

from __future__ import annotations

from mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="audit-passes-over-strangers",
        fault="a row that only the second database has is passed over",
        harm="stock that is held for no order, or a charge of none, is called clean",
        file="operations/audit/merge.py",
        old="            yield None, there.row\n",
        new="",
        tests=("operations/audit/test_merge.py::test_every_row_of_both_sides_comes_once",),
    ),
    Mutant(
        name="audit-calls-the-unseen-clean",
        fault="rules that could not be looked at do not show in the exit status",
        harm="a script takes an audit that saw half of the books for a proof",
        file="operations/audit/report.py",
        old="        return COULD_NOT_RUN if self.not_run else CLEAN",
        new="        return CLEAN",
        tests=("operations/audit/test_run.py::test_under_way_is_not_violated",),
    ),
)
