"""What came of each mutant, as a line while it runs and as a page at the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from mutants.trial import FAILED, PASSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mutants.mutant import Mutant
    from mutants.trial import Trial

MISTAKES = (
    "AttributeError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "SyntaxError",
    "hypothesis.errors.FailedHealthCheck",
)
"""What only breaks the language, or a slow machine, shows nothing about the tests."""

INTRODUCTION = """\
# Mutants

Faults that are planted on purpose in copies of our own code, one at a time, and the test that
noticed each of them. `make mutants` runs this and writes this page;
`make mutants ARGS="--only NAME"` runs one and `make mutants ARGS=--list` lists them. The catalogue
is in [mutants/](../mutants/catalogue.py).

First the tests ran on an unchanged copy and passed. A mutant counts as caught only if a test
fails, not if a module cannot be imported or a fixture breaks.
"""

HEAD = (
    "| mutant | the fault | in src/waybill/ | what a user would see | caught by | seconds |",
    "|---|---|---|---|---|---:|",
)


class Verdict(Enum):
    """What a mutant came to; only CAUGHT is good."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"
    """No test ran to its end: neither caught nor survived."""
    OUT_OF_TIME = "OUT OF TIME"


@dataclass(frozen=True)
class Result:
    """A mutant with how its tests ended."""

    mutant: Mutant
    trial: Trial

    @property
    def verdict(self) -> Verdict:
        """Caught by a failing test, or by hanging where that is how the fault shows."""
        trial = self.trial
        if trial.status is None:
            return Verdict.CAUGHT if self.mutant.hangs else Verdict.OUT_OF_TIME
        if trial.status == PASSED:
            return Verdict.SURVIVED
        if trial.status != FAILED or trial.test is None or trial.reason.startswith(MISTAKES):
            return Verdict.BROKEN
        return Verdict.CAUGHT

    @property
    def test(self) -> str:
        """The test that noticed, without its parameters."""
        if self.trial.status is None:
            return "did not end"
        return (self.trial.test or "none").partition("[")[0]


def line(result: Result) -> str:
    """One line for a terminal; what was not caught shows the end of its tests' output."""
    trial = result.trial
    told = f"{result.verdict.value:<11} {result.mutant.name:<32} {trial.seconds:5.1f} s  "
    if result.verdict is Verdict.CAUGHT:
        return f"{told}{result.test.rpartition('::')[2]}: {trial.reason[:100]}"
    return f"{told}{result.test}\n" + "\n".join(trial.output.splitlines()[-30:])


def page(results: Sequence[Result], *, revision: str, seconds: float) -> str:
    """The page with all of them."""
    caught = sum(result.verdict is Verdict.CAUGHT for result in results)
    rows = [
        f"| {result.mutant.name} | {result.mutant.fault} | `{result.mutant.file}` | "
        f"{result.mutant.harm} | {_noticed(result)} | {result.trial.seconds:.1f} |"
        for result in results
    ]
    told = (
        f"The last run, at revision {revision}: {caught} of {len(results)} caught, in "
        f"{seconds / 60:.1f} minutes."
    )
    return "\n".join([INTRODUCTION, told, "", *HEAD, *rows, ""])


def _noticed(result: Result) -> str:
    if result.verdict is not Verdict.CAUGHT:
        return f"**{result.verdict.value}**"
    return f"`{result.test}`" if result.trial.test else result.test
