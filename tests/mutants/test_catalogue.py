"""The catalogue of mutants keeps up with the code, and its verdicts are strict."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mutants.catalogue import MUTANTS
from mutants.mutant import Mutant, StaleMutantError
from mutants.report import Result, Verdict, page
from mutants.trial import FAILED, PASSED, Trial

ROOT = Path(__file__).resolve().parents[2]
MUTANTS_MIN = 24
CONTRACTS = "\n".join(
    path.read_text() for path in (ROOT / "src/waybill/messaging/testing/contracts").glob("*.py")
)

each = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
A_MUTANT = MUTANTS[0]


@each
def test_every_mutant_still_applies(mutant: Mutant) -> None:
    """Its old text stands exactly once in its file, and the new text is a program."""
    source = (ROOT / "src/waybill" / mutant.file).read_text()
    changed = mutant.applied_to(source)
    assert changed != source
    ast.parse(changed)


@each
def test_every_test_of_a_mutant_exists(mutant: Mutant) -> None:
    """A renamed test must not make a mutant unnoticed without a word."""
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text()
        inherited = CONTRACTS if "::" in name else ""
        assert f"def {name.rpartition('::')[2]}(" in text + inherited, test


def test_there_are_enough_and_each_has_a_name() -> None:
    """Names are what one is run by."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= MUTANTS_MIN
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", name) for name in names)


def test_a_text_that_stands_twice_is_refused() -> None:
    """Else nobody would know which place was changed."""
    with pytest.raises(StaleMutantError, match="2 times"):
        A_MUTANT.applied_to(A_MUTANT.old * 2)
    with pytest.raises(StaleMutantError, match="0 times"):
        A_MUTANT.applied_to("")


@pytest.mark.parametrize(
    ("status", "test", "reason", "verdict"),
    [
        (FAILED, "a/test_b.py::test_c", "assert 1 == 2", Verdict.CAUGHT),
        (PASSED, None, "", Verdict.SURVIVED),
        (FAILED, None, "", Verdict.BROKEN),
        (FAILED, "a/test_b.py::test_c", "NameError: name 'x' is not defined", Verdict.BROKEN),
        (2, None, "", Verdict.BROKEN),
        (4, None, "", Verdict.BROKEN),
        (5, None, "", Verdict.BROKEN),
        (None, None, "", Verdict.OUT_OF_TIME),
    ],
)
def test_only_a_failing_test_has_caught_a_mutant(
    status: int | None, test: str | None, reason: str, verdict: Verdict
) -> None:
    """No import error, no broken fixture, no empty selection and no hanging counts."""
    result = Result(A_MUTANT, Trial(status, 1.0, "", test, reason))
    assert result.verdict is verdict
    written = page([result], revision="r", seconds=60.0)
    assert ("1 of 1 caught" in written) == (verdict is Verdict.CAUGHT)
