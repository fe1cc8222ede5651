"""A disk that is full under load costs time: 503 meanwhile, and all goes on when there is room."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import connected, rows
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.acceptance.small_disk import SmallDisk, small_disk
from tests.acceptance.traffic import Traffic

from waybill.platform.embedded.processes import processes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized
    from pathlib import Path

pytestmark = pytest.mark.acceptance

DISK_MEGABYTES = 256
ORDERS_FIRST = 50
ROOM_SECONDS_MAX = 30
NEEDS_ROOM = (
    "CREATE TABLE public.needs_room AS SELECT repeat('x', 100) FROM generate_series(1, 1e5)"
)
GAP_SECONDS = 0.03
"""Of a customer between two orders."""
NEEDS_A_JOURNAL_FILE = (
    "SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', repeat('x', 1e5::int))"
)


@pytest.fixture(scope="module")
def disk(session_directory: Path) -> Iterator[SmallDisk]:
    """A disk that is filled below 90 % by nothing but the platform."""
    directory = session_directory / "small-disk"
    directory.mkdir(mode=0o711)
    with small_disk(directory / "data", megabytes=DISK_MEGABYTES) as made:
        yield made


@pytest.fixture(scope="module")
def platform(disk: SmallDisk, provisioned_data: Path) -> Iterator[PlatformProcess]:
    """A platform on that disk; it is never started again, whatever happens to the disk."""
    data = disk.directory
    subprocess.run(["cp", "-a", f"{provisioned_data}/.", data], check=True)
    environment = {"PAYMENT_SIMULATE_FORCEOUTCOME": "success"}
    made = PlatformProcess(data, port_base=free_port_base(), environment=environment)
    with closing(made):
        made.start().raise_stock()
        process = made.process
        yield made
        disk.make_room()
        assert process is not None
        assert process.poll() is None, "it ended, or was started again"
        assert made.stop() == 0
        assert "Traceback" not in made.log.read_text()


def modest(platform: PlatformProcess) -> Traffic:
    """Customers who leave the machine some time, also when they are refused."""
    return Traffic(platform, gap_seconds=GAP_SECONDS)


def get(platform: PlatformProcess) -> int:
    """The status of a GET that reads the database."""
    return platform.client.get(f"{platform.url(1)}/api/orders?limit=1").status_code


def panics(disk: SmallDisk, platform: PlatformProcess, run: Callable[[str], None]) -> bool:
    """Have PostgreSQL begin a new journal file, once there is none left; whether it is gone."""
    disk.fill()  # it gives room back now and then
    try:
        run(NEEDS_A_JOURNAL_FILE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        print(f"a journal file: {error!r}")  # noqa: T201 - pytest shows it if this never ends
    return get(platform) == 503


def more(found: Sized, than: int) -> bool:
    """Whether there are more than so many."""
    return len(found) > than


def assert_told_to_come_back(traffic: Traffic) -> None:
    """Some were refused, none of them by anything but 503 with Retry-After."""
    assert traffic.refused
    assert {status for status, _ in traffic.refused} == {503}
    assert {after for _, after in traffic.refused} <= {"1", "2", "3"}


def assert_all_goes_on(platform: PlatformProcess, traffic: Traffic) -> None:
    """Orders are taken again; what was accepted is there, what was unknown happened once."""
    before = len(traffic.accepted)
    wait_for(lambda: more(traffic.accepted, before + ORDERS_FIRST), ROOM_SECONDS_MAX, "orders")
    traffic.pause()
    traffic.settle_unknown()
    assert_balanced(platform, history=traffic.history())
    kept = {str(row["id"]) for row in rows(platform.data, "order", "SELECT id FROM app.orders")}
    assert set(traffic.accepted.values()) <= kept
    platform.wait_ready()


def test_i5_before_the_disk_is_full_writes_get_503_and_what_was_accepted_ends(
    disk: SmallDisk, platform: PlatformProcess
) -> None:
    """Protocol I5: above 90 % no order comes in, and those that are in have room to end."""
    with modest(platform) as traffic:
        traffic.resume()
        wait_for(lambda: more(traffic.accepted, ORDERS_FIRST), 30, "some traffic")
        disk.fill(0.92)
        wait_for(lambda: platform.place("brake").status_code == 503, 10, "the brake on")
        reached = len(traffic.refused)
        wait_for(lambda: more(traffic.refused, reached + ORDERS_FIRST), 10, "orders are refused")
        assert get(platform) == 200
        for order_id in list(traffic.accepted.values())[-5:]:
            assert platform.ended(order_id)["status"] == "CONFIRMED"
        assert disk.used_share > 0.9
        disk.make_room()
        assert_told_to_come_back(traffic)
        assert_all_goes_on(platform, traffic)


def test_on_a_disk_that_is_full_at_once_nothing_accepted_is_lost(
    disk: SmallDisk, platform: PlatformProcess
) -> None:
    """P1, P10: PostgreSQL cannot write: 503 with Retry-After, never 500, and reads go on."""
    with modest(platform) as traffic, connected(platform.data, "order") as run:
        traffic.resume()
        wait_for(lambda: more(traffic.accepted, ORDERS_FIRST), 30, "some traffic")
        disk.fill()
        with pytest.raises(asyncpg.DiskFullError):
            run(NEEDS_ROOM)
        reached = len(traffic.refused)
        wait_for(lambda: more(traffic.refused, reached + ORDERS_FIRST), 10, "orders are refused")
        assert get(platform) == 200
        for order_id in list(traffic.accepted.values())[:5]:
            assert platform.order(order_id)["id"] == order_id
        disk.make_room()
        assert_told_to_come_back(traffic)
        assert_all_goes_on(platform, traffic)


@pytest.mark.long
def test_a_postgresql_that_panics_for_want_of_room_comes_back(
    disk: SmallDisk, platform: PlatformProcess
) -> None:
    """E2: its journal needs a new file and finds no room: it ends, and is started until it can."""
    cluster = platform.data / "postgres" / "data"
    told = "PostgreSQL panics, reads tell to come back"
    with modest(platform) as traffic, connected(platform.data, "order") as run:
        traffic.resume()
        wait_for(lambda: more(traffic.accepted, ORDERS_FIRST), 30, "some traffic")
        wait_for(lambda: panics(disk, platform, run), 20, told)
        reached = len(traffic.refused)
        wait_for(lambda: more(traffic.refused, reached + ORDERS_FIRST), 10, "orders are refused")
        traffic.pause()
        wait_for(lambda: not processes_of(cluster), 20, "recovery finds no room either")
        disk.fill()  # what its first try gave back
        tries = platform.log.read_text().count("does not start")
        wait_for(
            lambda: platform.log.read_text().count("does not start") > tries, 20, "another try"
        )
        assert get(platform) == 503
        disk.make_room()
        traffic.resume()
        assert_told_to_come_back(traffic)
        assert_all_goes_on(platform, traffic)
