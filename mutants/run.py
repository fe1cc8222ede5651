"""`python -m mutants.run`: plant each fault in a copy of src/ and see that a test notices.

All tests of the catalogue run on an unchanged copy first: one that fails anyway notices nothing.
Exit status 0: all were caught; 1: some were not; 2: nothing could be said.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from mutants.catalogue import MUTANTS
from mutants.mutant import StaleMutantError
from mutants.report import Result, Verdict, line, page
from mutants.trial import PASSED, ROOT, copied_source, try_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mutants.mutant import Mutant

PAGE = ROOT / "docs" / "mutants.md"
MUTANT_SECONDS_MAX = 180.0
UNCHANGED_SECONDS_MAX = 900.0
ALL_CAUGHT, NOT_ALL_CAUGHT, NOTHING_KNOWN, STOPPED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    options = _parser().parse_args(arguments)
    if options.list:
        for mutant in MUTANTS:
            _say(f"{mutant.name:<32} {mutant.fault}")
        return ALL_CAUGHT
    unknown = set(options.only) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.stderr.write(f"mutants: no such mutant: {', '.join(sorted(unknown))}; see --list\n")
        return NOTHING_KNOWN
    chosen = [each for each in MUTANTS if not options.only or each.name in options.only]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(chosen, seconds_max=options.seconds, write=not options.only)
    except KeyboardInterrupt:
        return STOPPED
    except StaleMutantError as error:
        sys.stderr.write(f"mutants: {error}\n")
        return NOTHING_KNOWN


def _run(chosen: Sequence[Mutant], *, seconds_max: float, write: bool) -> int:
    begun = time.monotonic()
    if not _unchanged_passes(chosen):
        return NOTHING_KNOWN
    results = []
    for mutant in chosen:
        results.append(_try(mutant, seconds_max))
        _say(line(results[-1]))
    if write:
        seconds = time.monotonic() - begun
        PAGE.write_text(page(results, revision=_revision(), seconds=seconds))
        _say(f"written to {PAGE.relative_to(ROOT)}")
    caught = sum(result.verdict is Verdict.CAUGHT for result in results)
    _say(f"{caught} of {len(results)} caught in {time.monotonic() - begun:.0f} s")
    return ALL_CAUGHT if caught == len(results) else NOT_ALL_CAUGHT


def _unchanged_passes(chosen: Sequence[Mutant]) -> bool:
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    with copied_source() as source:
        trial = try_tests(source, tests, seconds_max=UNCHANGED_SECONDS_MAX)
    if trial.status != PASSED:
        sys.stderr.write(trial.output)
        sys.stderr.write("mutants: a test does not pass on the unchanged code: mend that first\n")
        return False
    _say(f"{'unchanged':<11} {len(tests)} tests passed {trial.seconds:16.1f} s")
    return True


def _try(mutant: Mutant, seconds_max: float) -> Result:
    with copied_source() as source:
        mutant.plant(source)
        return Result(mutant, try_tests(source, mutant.tests, seconds_max=seconds_max))


def _revision() -> str:
    """The last commit that changed the code or its tests, with a mark if files differ from it."""
    what = ("--", "src", "tests")
    commit = _git("log", "-1", "--format=%h", *what) or "unknown"
    return commit + (" with changes" if _git("status", "--porcelain", *what) else "")


def _git(*arguments: str) -> str:
    told = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", *arguments],  # noqa: S607 - the user's git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make mutants ARGS=...", description="Plant faults, and see that tests notice."
    )
    parser.add_argument("--list", action="store_true", help="say which there are, and run nothing")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="run this one (may be repeated); docs/mutants.md is left alone",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=MUTANT_SECONDS_MAX,
        help="a mutant's tests may take (default %(default)g)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
