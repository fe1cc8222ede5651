"""`waybill bench` over real processes: its files, and that it keeps silent on books that lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient
from tests.acceptance.database import rows
from tests.acceptance.processes import MOUSE, PlatformProcess, free_port_base, wait_for
from tests.kafka.broker import running_broker

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT
from waybill.operations.bench.away import measure_outage
from waybill.operations.bench.rest import BenchFailedError
from waybill.operations.bench.stand_ins import StandInProvider
from waybill.operations.bench.target import OutagePlan
from waybill.operations.history import read_history
from waybill.platform.bench_runs import HISTORY_NAME
from waybill.platform.bench_scratch import LOCK_NAME, PREFIX
from waybill.platform.benched import target_of
from waybill.platform.embedded.processes import processes_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import NewPlatform

pytestmark = pytest.mark.acceptance

SHORT = ("--seconds", "2", "--warm-up-seconds", "0.5", "--settle-seconds", "0.5")


def bench(
    platform: PlatformProcess, out: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end on the platform's data and ports."""
    command = platform.command("bench", *SHORT, "--out", str(out), *arguments)
    return subprocess.run(
        command,
        # what is kept after a violation
        env={**os.environ, **platform.environment, "TMPDIR": str(out.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_platform_of_its_own_is_measured_and_nothing_is_left(
    new_platform: NewPlatform, tmp_path: Path
) -> None:
    """Two phases over one process a service: JSON, table, plots; the processes end with it."""
    with new_platform() as platform:
        shown = bench(
            platform, tmp_path / "out", "--processes", *("--rate", "40", "--rate", "0"),
            *("--connections", "4", "--watch-every", "5"),
        )  # fmt: skip
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert not processes_of(platform.data / "postgres" / "data")
    names = {"bench.json", "bench.md", "latency.png", "throughput.png", "memory.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert (tmp_path / "out" / "bench.md").read_text().splitlines()[6] in shown.stdout
    found = json.loads((tmp_path / "out" / "bench.json").read_bytes())
    assert found["durability"]["settings"]["fsync"] == "on"
    assert found["audit"].startswith("audit: clean")
    assert found["topology"].endswith("one process a service")
    paced, flat_out = found["phases"]
    assert (paced["name"], flat_out["name"]) == ("40 orders/s", "flat out")
    assert paced["accepted"] == paced["confirmed"] == 80, paced
    for phase in (paced, flat_out):
        check(phase)
    assert paced["confirmedPolled"]["samples"] > 0
    assert len(found["samples"]) >= 6


@pytest.mark.long
@pytest.mark.parametrize("apart", [(), ("--processes",)])
def test_a_bench_that_is_killed_takes_its_platform_along(
    session_directory: Path, tmp_path: Path, apart: tuple[str, ...]
) -> None:
    """SIGKILL: its processes and PostgreSQL end by themselves; the next bench drops the data.

    Not what was kept for people, nor where somebody else may write.
    """
    temporary, out = session_directory / f"killed{len(apart)}", tmp_path / "out"
    temporary.mkdir(mode=0o711)
    command = [sys.executable, "-m", "waybill", "bench", *SHORT, "--out", str(out), "--rate", "20"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    doomed = subprocess.Popen([*command, "--seconds", "60", *apart], env=environment)
    try:
        wait_for(lambda: is_measured(temporary), 90, "orders are placed")
        (data,) = temporary.glob(f"{PREFIX}*/data/postgres/data")
        assert processes_of(data)
        assert len(started_on(temporary)) >= (4 if apart else 1)
    finally:
        doomed.kill()
        doomed.wait(timeout=20)
    wait_for(lambda: not started_on(temporary), 20, "its platform has ended")
    wait_for(lambda: not processes_of(data), 40, "its PostgreSQL has ended")
    kept, stranger = temporary / f"{PREFIX}kept", temporary / f"{PREFIX}strangers"
    for directory, mode in ((kept, 0o711), (stranger, 0o777)):
        directory.mkdir()
        directory.chmod(mode)
    (stranger / LOCK_NAME).touch()
    again = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(temporary.iterdir()) == {kept, stranger}


def is_measured(temporary: Path) -> bool:
    """Whether a bench whose directory is in this one has been told of orders."""
    history = next(temporary.glob(f"{PREFIX}*/{HISTORY_NAME}"), None)
    return history is not None and history.stat().st_size > 0


def started_on(place: Path) -> list[str]:
    """Command lines that name something in this directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{place}/" in line:
                found.append(line)
    return found


def check(phase: dict[str, Any]) -> None:
    """What holds whatever the machine: counts, and the order of the latencies."""
    assert phase["accepted"] == phase["confirmed"]
    post, seen, written = (phase[name] for name in ("post", "confirmedSeen", "confirmedWritten"))
    assert 0 < post["p50"] <= post["p90"] <= post["p99"] <= post["max"]
    assert written["p50"] < seen["p50"]
    assert written["samples"] == seen["samples"] == phase["confirmed"]
    cost = phase["anOrder"]
    assert 10 <= cost["rowsInserted"] <= 30, cost
    assert cost["rowsUpdated"] > 3
    assert 0.05 < cost["commits"] < 20
    assert cost["statements"] > cost["commits"]
    assert cost["walBytes"] > 3_000
    assert min(cost["pythonCpuMicroseconds"], cost["postgresCpuMicroseconds"]) > 50
    assert phase["pythonBytesMax"] > 4 * 30_000_000, "of four processes"
    assert phase["postgresBytesMax"] > 20_000_000


@pytest.fixture(scope="module")
def running(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A platform that runs already; its payments always succeed."""
    with new_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success") as platform:
        yield platform.start()


def test_without_a_clean_audit_there_is_no_number(running: PlatformProcess, tmp_path: Path) -> None:
    """One unit of stock that nobody accounts for, and no figure is shown or written."""
    rows(running.data, "inventory", "UPDATE app.products SET sold = sold + 1 WHERE id = $1", MOUSE)
    shown = bench(running, tmp_path / "out", "--running", "--rate", "20", "--seconds", "1")
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "I30" in shown.stdout
    assert "no clean audit, no figures" in shown.stdout
    assert "confirmed a second" not in shown.stdout
    assert not (tmp_path / "out").exists()
    (kept,) = tmp_path.glob("waybill-bench-*/history.jsonl")
    assert {entry.outcome for entry in read_history(kept)} == {"ok"}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in BLUEPRINTS if name != DEFAULT.name])
def test_every_other_blueprint_is_measured_by_its_own_orders(
    data_directory: Path, tmp_path: Path, name: str
) -> None:
    """On a platform of its own all orders come to their good end, and its own audit is clean."""
    platform = PlatformProcess(data_directory, port_base=free_port_base(), environment={})
    shown = bench(
        platform, tmp_path / "out", "--blueprint", name, "--rate", "10", "--watch-every", "5",
        "--seconds", "3", "--warm-up-seconds", "1", "--settle-seconds", "0",
    )  # fmt: skip
    platform.close()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = json.loads((tmp_path / "out" / "bench.json").read_bytes())
    assert found["topology"] == f"waybill bench: {name}, all services in one process"
    assert found["audit"].startswith("audit: clean")
    (phase,) = found["phases"]
    assert phase["accepted"] == phase["confirmed"] == phase["confirmedSeen"]["samples"] == 30
    assert phase["confirmedPolled"]["samples"] > 0


@pytest.mark.long
def test_all_blueprints_stand_in_one_table(tmp_path: Path) -> None:
    """The same orders through each, ends seen alike: a column a blueprint, JSON and a plot."""
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "waybill", "bench", "--all-blueprints"),
            *("--rate", "20", "--seconds", "1", "--warm-up-seconds", "0", "--settle-seconds", "0"),
            *("--outage-seconds", "3", "--outage-rate", "20", "--out", str(tmp_path / "out")),
        ],
        env={**os.environ, "WAYBILL_PAYMENT_WAIT_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    names = {"comparison.json", "comparison.md", "comparison.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert f"| | {' | '.join(BLUEPRINTS)} |" in shown.stdout
    found = json.loads((tmp_path / "out" / "comparison.json").read_bytes())["blueprints"]
    assert list(found) == list(BLUEPRINTS)
    for name, results in found.items():
        (phase,) = results["phases"]
        assert phase["accepted"] == phase["confirmed"] == 20
        assert phase["anOrder"]["messages"] >= 1
        assert results["audit"].startswith("audit: clean")
        check_outage(name, results["outage"], orders=60)


@pytest.mark.long
def test_on_kafka_partitions_a_burst_and_a_backlog_are_measured(
    data_directory: Path, session_directory: Path, tmp_path: Path
) -> None:
    """Topics have as many partitions as were asked for; nothing is oversold; all is worked off."""
    with running_broker(session_directory / "bench-broker") as broker:
        environment = {"KAFKA_BROKERS": broker.bootstrap}
        platform = PlatformProcess(
            data_directory, port_base=free_port_base(), environment=environment
        )
        shown = bench(
            platform, tmp_path / "out", "--processes", "--log", "kafka", "--partitions", "3",
            "--rate", "0", "--burst", "400", "--backlog", "2000",
        )  # fmt: skip
        platform.close()
        assert shown.returncode == 0, shown.stdout + shown.stderr
        topics = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=20).topics
    assert len(topics["order-events"].partitions) == 3
    found = json.loads((tmp_path / "out" / "bench.json").read_bytes())
    assert found["topology"].endswith("on Kafka, 3 partitions")
    burst, drained = found["burst"], found["backlog"]["drained"]
    assert burst["accepted"] + sum(burst["refused"].values()) + burst["unknown"] == 400
    assert burst["units"] == 300
    # a busy machine may turn some away: those were told so
    assert burst["confirmed"] == min(300, burst["accepted"]) > 0
    assert burst["cancelled"] == burst["accepted"] - burst["confirmed"]
    assert burst["answeredSeconds"] <= burst["settledSeconds"]
    assert drained["orders"] >= 2000
    assert drained["perSecond"] > 0
    (phase,) = found["phases"]
    assert found["backlog"]["steadyPerSecond"] == phase["confirmedPerSecond"]
    assert "| **oversold** | **0** |" in shown.stdout


@pytest.mark.long
def test_an_outage_is_felt_and_settled_after_it(data_directory: Path, tmp_path: Path) -> None:
    """Whoever is called outside is away: orders are taken meanwhile, and all end well after it."""
    environment = {"WAYBILL_PAYMENT_WAIT_SECONDS": "1"}
    platform = PlatformProcess(data_directory, port_base=free_port_base(), environment=environment)
    shown = bench(
        platform, tmp_path / "out", "--blueprint", "checkout", "--rate", "20",
        "--seconds", "1", "--warm-up-seconds", "0", "--settle-seconds", "0",
        "--outage-seconds", "3", "--outage-rate", "20",
    )  # fmt: skip
    platform.close()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    outage = json.loads((tmp_path / "out" / "bench.json").read_bytes())["outage"]
    check_outage("checkout", outage, orders=60)
    answers = {each["answer"]: each["latency"]["samples"] for each in outage["answers"]}
    assert answers["202"] >= 40, answers  # the last ones may still be paid within their wait
    assert set(outage["shownWhenBack"]) == {"PENDING"}
    assert f"| who is away | {outage['target']} |" in shown.stdout


def check_outage(name: str, outage: dict[str, Any], *, orders: int) -> None:
    """What holds of every blueprint, whatever the machine."""
    assert outage["target"] == BLUEPRINTS[name].workload.target.name
    assert outage["audit"].startswith("audit: clean")
    assert outage["failedCalls"] > 0
    assert outage["seconds"] >= 3
    answers = {each["answer"]: each["latency"]["samples"] for each in outage["answers"]}
    taken = sum(count for answer, count in answers.items() if answer < "300")
    assert sum(answers.values()) == orders
    # a busy machine may turn some away: those were told so
    assert orders / 2 <= taken == outage["accepted"] == outage["confirmed"], answers
    assert outage["cancelled"] == 0
    assert sum(outage["shownWhenBack"].values()) > 0
    assert 0 <= outage["endedSeconds"] <= outage["settledSeconds"]
    if name == "reservation":  # its customers wait for nobody outside
        assert outage["goodWhenBack"] > taken / 2
    else:
        assert outage["goodWhenBack"] == 0


async def test_an_outage_that_nobody_felt_is_no_figure(
    running: PlatformProcess, tmp_path: Path
) -> None:
    """A platform that calls somebody else is not measured: nothing was away for it."""
    settings = Settings.load(data_directory=running.data, port_base=running.port_base)
    process = running.process
    assert process is not None
    stand_in = StandInProvider()
    await stand_in.start(settings.port_base)
    try:
        with pytest.raises(BenchFailedError, match="nobody called the payment provider"):
            await measure_outage(
                target_of(settings, [process.pid]),
                OutagePlan(seconds=0.5, rate=10, warm_up_seconds=0.1, connections=2),
                stand_in,
                history=tmp_path / "history.jsonl",
                progress=Silent(),
            )
    finally:
        await stand_in.stop()


class Silent:
    """Nobody looks."""

    def step(self, text: str, seconds: float | None = None) -> None:
        """See Progress."""
