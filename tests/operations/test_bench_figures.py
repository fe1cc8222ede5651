"""The arithmetic of a bench: known counts in, known figures out, and what is written of them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from waybill.operations.bench import plots
from waybill.operations.bench.backlog import Backlog, drained
from waybill.operations.bench.burst import Burst
from waybill.operations.bench.counters import Rows, Work
from waybill.operations.bench.durability import Durability, file_system_of
from waybill.operations.bench.figures import (
    Measured,
    Sample,
    an_order,
    by_second,
    latency,
    per_second,
)
from waybill.operations.bench.processes import postgres_usage, python_usage
from waybill.operations.bench.results import Results, as_markdown, write_results

BEFORE = Work(10.0, 1_000, 50, 4_000_000, 5.0, 7.0, 1.0, 40)
AFTER = Work(40.0, 7_000, 1_950, 34_000_000, 5.5, 7.75, 1.125, 5_040)
ROWS = (Rows(100, 40, 30, 5), Rows(50_100, 10_040, 6_030, 6))
COST = an_order(BEFORE, AFTER, ROWS, 1_000)


def test_the_cost_of_an_order_is_the_difference_by_order() -> None:
    """Counts, and CPU in microseconds."""
    assert (COST.statements, COST.commits, COST.wal_bytes) == (6.0, 1.9, 30_000.0)
    assert (COST.rows_inserted, COST.rows_updated, COST.rows_updated_in_place) == (50, 10, 6)
    assert COST.rows_deleted == 0.001
    assert (COST.python_cpu_microseconds, COST.postgres_cpu_microseconds) == (500, 750)
    assert COST.load_cpu_microseconds == 125
    assert COST.messages == 5


def test_a_rate_counts_to_the_last_confirmation() -> None:
    """Not to the last send, and nothing is no rate."""
    assert per_second(3_000, 100.0, 102.0) == 1_500
    assert per_second(0, 100.0, 0.0) == 0
    assert per_second(1, 100.0, 100.0) == 0


def test_a_distribution_is_in_milliseconds() -> None:
    """Of 1 to 101 ms."""
    found = latency([n / 1000 for n in range(101, 0, -1)])
    assert found.samples == 101
    assert (found.p50, found.p90, found.p99, found.max) == pytest.approx((51, 91, 100, 101))
    assert found.curve[0] == pytest.approx((0, 1))
    assert found.curve[-1] == pytest.approx((100, 101))
    empty = latency([])
    assert math.isnan(empty.p50)
    assert empty.curve == ()


def test_throughput_over_time_is_between_samples() -> None:
    """By second, whatever the distance of the samples."""
    samples = [Sample(0, 0, 0, 1, 1), Sample(2, 200, 100, 1, 1), Sample(2.5, 250, 200, 1, 1)]
    assert by_second(samples) == [(1, 100, 50), (2.25, 100, 200)]


def test_the_cpu_of_a_process_is_its_own() -> None:
    """What this one burns shows, to the kernel's tick; one that is gone counts as nothing."""
    before = python_usage([os.getpid(), 2**22])
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    after = python_usage([os.getpid(), 2**22])
    assert 0.15 <= after.cpu_seconds - before.cpu_seconds <= 1.0
    assert after.memory_bytes > 10_000_000


def test_the_cpu_of_a_backend_that_ended_is_its_parents() -> None:
    """A server's figure loses nothing when a connection closes."""
    before = postgres_usage([os.getpid()]).cpu_seconds
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert postgres_usage([os.getpid()]).cpu_seconds - before >= 0.28


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """Whether a sync costs anything depends on it."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    assert file_system_of(tmp_path / "data", mounts) == "tmpfs"
    assert file_system_of(Path("/somewhere/else"), mounts) == "ext4"


def measured(name: str, rate: float, began: float) -> Measured:
    """A phase with plausible figures."""
    found = latency([n / 1000 for n in range(1, 102)])
    return Measured(
        name=name,
        rate=rate,
        connections=32,
        seconds=30.0,
        began_seconds=began,
        rest_seconds=0.25,
        accepted=3_000,
        refused={"503": 7},
        unknown=1,
        cancelled=0,
        confirmed=3_000,
        accepted_per_second=100.0,
        confirmed_per_second=99.6,
        post=found,
        confirmed_seen=found,
        confirmed_written=found,
        confirmed_polled=found,
        left_out_of_poll=2,
        an_order=COST,
        python_bytes_max=90_000_000,
        postgres_bytes_max=180_000_000,
        looks=5_000,
    )


SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
RESULTS = Results(
    waybill="1.2.3",
    began="2026-11-21 17:00:00 UTC",
    command="waybill bench",
    topology="waybill bench: all services in one process",
    durability=Durability("18.4", SETTINGS, 2, "a CPU", 8, "6.1", "3.11.7", "ext4", 1.5),
    audit="audit: clean: 40 rules hold, in 3.0 s",
    phases=(measured("100 orders/s", 100, 5), measured("flat out", 0, 60)),
    samples=tuple(Sample(at, at * 100, at * 90, 80_000_000, 170_000_000) for at in range(90)),
)


def test_the_table_has_a_column_a_phase_and_what_decides_durability() -> None:
    """Every figure stands beside the settings it was reached with."""
    page = as_markdown(RESULTS)
    lines = page.splitlines()
    assert "| | 100 orders/s | flat out |" in lines
    assert "| **confirmed a second** | **100** | **100** |" in lines
    assert "| POST, ms: p50 / p90 / p99 / max |" in page
    assert "51.0 / 91.0 / 100.0 / 101.0" in page
    assert "51.0 / 91.0 / 100.0 / 101.0 (2 left out)" in page
    assert "| refused, unknown | 7, 1 | 7, 1 |" in lines
    assert "| statements an order | 6.00 | 6.00 |" in lines
    assert "| rows updated an order (of them HOT) | 10.00 (6.00) | 10.00 (6.00) |" in lines
    for what in ("fsync=on", "synchronous_commit=on", "2 cores", "PostgreSQL 18.4", "on ext4"):
        assert what in page
    assert "audit: clean" in page


def test_a_backlog_is_told_by_its_rate_and_the_memory_of_its_halves() -> None:
    """From the first look to the last one, whatever was confirmed before."""
    memory = (80, 100, 90, 150, 120)
    samples = [Sample(10 + at, 0, 500 + at * 250, used, 1) for at, used in enumerate(memory)]
    found = drained(samples, 1_500)
    assert (found.orders, found.per_second) == (1_500, 250)
    assert (found.first_bytes_max, found.second_bytes_max) == (100, 150)
    assert found.growth == 1.5
    assert drained(samples[:1], 1_500).per_second == 0
    page = as_markdown(
        replace(RESULTS, backlog=Backlog(drained=found, steady_per_second=500.0))
    ).splitlines()
    assert "| to what is carried while orders come | 0.50 of 500 |" in page
    assert "| memory of Python, second half to first | 1.50 |" in page
    assert not any("at once" in line for line in page)


@pytest.mark.parametrize(("confirmed", "oversold"), [(1_499, 0), (1_500, 0), (1_501, 1)])
def test_a_burst_tells_what_was_sold_and_was_not_there(confirmed: int, oversold: int) -> None:
    """More confirmed orders than units; what was turned away is told with it."""
    burst = Burst(
        orders=2_000,
        units=1_500,
        accepted=1_990,
        refused={"503": 9},
        unknown=1,
        confirmed=confirmed,
        cancelled=1_990 - confirmed,
        answered_seconds=2.0,
        settled_seconds=4.0,
    )
    page = as_markdown(replace(RESULTS, burst=burst)).splitlines()
    assert f"| **oversold** | **{oversold}** |" in page
    assert "| orders at once, units for them | 2000, 1500 |" in page
    assert "| refused, unknown | 9, 1 |" in page


def test_all_files_are_written_and_the_json_has_everything(tmp_path: Path) -> None:
    """JSON that reads back to the same results, the page, three plots that are PNG."""
    written = write_results(RESULTS, tmp_path / "out")
    names = ["bench.json", "bench.md", "latency.png", "throughput.png", "memory.png"]
    assert [path.name for path in written] == names
    assert msgspec.json.decode(written[0].read_bytes(), type=Results) == RESULTS
    assert "![latency](latency.png)" in written[1].read_text()
    for path in written[2:]:
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        assert path.stat().st_size > 5_000


def test_without_matplotlib_the_figures_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plots are an extra."""
    monkeypatch.setattr(plots, "available", lambda: False)
    assert [path.name for path in write_results(RESULTS, tmp_path)] == ["bench.json", "bench.md"]
    assert ".png" not in (tmp_path / "bench.md").read_text()
