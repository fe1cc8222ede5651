"""`waybill bench` says what is wrong before the work, and leaves nothing if there is no result."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from waybill.cli import app
from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.bench.target import (
    LOOK_SECONDS,
    LOOK_SECONDS_FLAT_OUT,
    PhasePlan,
)
from waybill.platform.bench_runs import BenchOptions
from waybill.platform.benchmark import run_bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchOptions:
    """A bench of a platform that does not run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return BenchOptions(
        plans=[PhasePlan(rate=1, seconds=1, warm_up_seconds=0)],
        out=tmp_path / "deep" / "out",
        data_directory=tmp_path / "data",
        port_base=18_000,
        processes=False,
        running=True,
        kafka=False,
        blueprint=None,
        command="waybill bench",
    )


def test_a_platform_that_does_not_run_is_said_so(options: BenchOptions, tmp_path: Path) -> None:
    """In one line that says what to do; no directory is left behind."""
    with pytest.raises(ConfigurationError, match=r"nothing runs on .*data: start it"):
        run_bench(Console(quiet=True), options)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert not list((tmp_path / "scratch").iterdir())


def test_results_that_could_not_be_written_are_not_measured(
    options: BenchOptions, tmp_path: Path
) -> None:
    """A file where the directory should be is found before the platform is started."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"out cannot be written .*another with --out"):
        run_bench(Console(quiet=True), replace(options, out=tmp_path / "file" / "out"))


def test_looking_is_rare_when_the_platform_is_at_its_limit() -> None:
    """Flat out nothing may take the place of orders."""
    paced = PhasePlan(rate=100, seconds=1, warm_up_seconds=0)
    flat_out = replace(paced, rate=0)
    assert (paced.look_seconds, paced.name) == (LOOK_SECONDS, "100 orders/s")
    assert (flat_out.look_seconds, flat_out.name) == (LOOK_SECONDS_FLAT_OUT, "flat out")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--partitions", "3"], "add --log kafka"),
        (["--backlog", "9"], "add --processes and --rate 0"),
        (["--backlog", "9", "--processes", "--rate", "100"], "add --processes and --rate 0"),
    ],
)
def test_options_that_need_others_name_them(line: list[str], says: str) -> None:
    """Before anything is started."""
    shown = CliRunner().invoke(app, ["bench", *line], env={"COLUMNS": "200"})
    assert shown.exit_code == 2
    assert says in " ".join(shown.output.split())
