"""What keeps a platform from starting: one clear line that says what and what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.database import rows, value
from tests.acceptance.processes import PlatformProcess, free_port_base

from waybill.commerce.migrations.migrate import REVISIONS
from waybill.messaging.adapters.postgres.schema import HEAD_REVISION
from waybill.messaging.core.identity import new_id
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.conftest import NewPlatform


@pytest.fixture(scope="module")
def stopped(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A platform with data that nobody runs; each test leaves them as they were."""
    with new_platform() as platform:
        yield platform


def refused(platform: PlatformProcess, *arguments: str, **environment: str) -> str:
    """Start it, which must fail at once; the one line that it says."""
    given = PlatformProcess(
        platform.data,
        port_base=platform.port_base,
        environment=platform.environment | environment,
    )
    answer = given.run(*(arguments or ("up",)))
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr + answer.stdout
    lines = answer.stderr.splitlines()
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("waybill: ")
    return lines[0]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("WAYBILL_ORDER_DEADLINE_SECOND", "5", "did you mean WAYBILL_ORDER_DEADLINE_SECONDS?"),
        ("WAYBILL_BATCH_SIZE_MAX", "many", "WAYBILL_BATCH_SIZE_MAX='many'"),
        ("WAYBILL_PAYMENT_SUCCESS_RATE", "2", "less than or equal to 1"),
        ("PAYMENT_SIMULATE_FORCEOUTCOME", "maybe", "'success' or 'failure'"),
        ("WAYBILL_HOST", "0.0.0.0", "WAYBILL_INSECURE=true"),  # noqa: S104 - what must be refused
        ("WAYBILL_INBOX_RETENTION_DAYS", "1", "must exceed WAYBILL_OUTBOX_RETENTION_DAYS"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is supported"),
    ],
)
def test_a_wrong_setting_is_named(
    stopped: PlatformProcess, name: str, text: str, told: str
) -> None:
    """The variable, its value and what is expected of it."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} if "OTEL" in name else {}
    line = refused(stopped, **endpoint, **{name: text})
    assert told in line
    assert name in line


def test_prices_where_there_are_none_are_refused(new_platform: NewPlatform) -> None:
    """The setting is named, and both ways out of it."""
    with new_platform(WAYBILL_BLUEPRINT="notify") as platform:
        line = refused(platform, WAYBILL_PRICES="catalogue")
    assert "WAYBILL_PRICES=catalogue: orders of notify have no prices: unset it, or" in line
    assert "WAYBILL_BLUEPRINT" in line


@pytest.mark.parametrize("arguments", [("up",), ("up", "--detach")])
def test_a_port_in_use_is_named(stopped: PlatformProcess, arguments: tuple[str, ...]) -> None:
    """Which one, and how to choose others."""
    with closing(socket.create_server(("127.0.0.1", stopped.port_base + 3))):
        line = refused(stopped, *arguments)
    assert str(stopped.port_base + 3) in line
    assert "--port-base" in line


def test_a_second_platform_on_the_same_data_is_refused(stopped: PlatformProcess) -> None:
    """Protocol E2: whatever its ports; the first one goes on."""
    with EmbeddedPostgres(stopped.data):
        other = PlatformProcess(stopped.data, port_base=free_port_base(), environment={})
        for arguments in (("up",), ("serve", "order")):
            line = refused(other, *arguments)
            assert f"in use by another waybill (process {os.getpid()})" in line
            assert "waybill down" in line
            assert "--data" in line
        assert value(stopped.data, "order", "SELECT 1") == 1


@pytest.mark.parametrize(
    ("arguments", "service", "spoil", "repair"),
    [
        (
            ("up",),
            "inventory",
            "UPDATE messaging.outbox_meta SET revision = 'messaging_9999'",
            f"UPDATE messaging.outbox_meta SET revision = '{HEAD_REVISION}'",  # noqa: S608 - a constant
        ),
        (
            ("serve", "order"),
            "order",
            "UPDATE app.schema_version SET version_num = 'order_9999'",
            f"UPDATE app.schema_version SET version_num = '{REVISIONS['order'][-1]}'",  # noqa: S608 - a constant
        ),
    ],
)
def test_a_newer_schema_is_refused(
    stopped: PlatformProcess, arguments: tuple[str, ...], service: str, spoil: str, repair: str
) -> None:
    """An older release does not touch what a newer one wrote."""
    with EmbeddedPostgres(stopped.data):
        rows(stopped.data, service, spoil)
    try:
        line = refused(stopped, *arguments)
    finally:
        with EmbeddedPostgres(stopped.data):
            rows(stopped.data, service, repair)
    assert "newer" in line
    assert "install" in line


@pytest.mark.parametrize("arguments", [("up",), ("serve", "order")])
def test_a_database_that_does_not_start_is_told(
    stopped: PlatformProcess, arguments: tuple[str, ...]
) -> None:
    """PostgreSQL's own complaint, and where its log is."""
    configuration = stopped.data / "postgres" / "data" / "postgresql.conf"
    kept = configuration.read_text()
    configuration.write_text(kept + "\nno_such_parameter = on\n")
    try:
        line = refused(stopped, *arguments)
    finally:
        configuration.write_text(kept)
    assert "PostgreSQL does not start" in line
    assert "postgres.log" in line


def spoilt_by_a_file(data: Path) -> None:
    """A file where the directory should be."""
    data.write_text("")


def spoilt_cluster(data: Path) -> None:
    """Files that are no PostgreSQL cluster."""
    (data / "postgres" / "data").mkdir(parents=True)
    data.chmod(0o711)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoilt_by_a_file, "cannot be made"),
        (spoilt_cluster, "--data|waybill reset"),  # as root, as another user
    ],
)
def test_data_that_cannot_be_used_are_told(
    data_directory: Path, spoil: Callable[[Path], None], told: str
) -> None:
    """The directory is named, and nothing in it is changed."""
    spoil(data_directory)
    platform = PlatformProcess(data_directory, port_base=free_port_base(), environment={})
    line = refused(platform)
    assert str(data_directory) in line
    assert re.search(told, line)


def test_without_the_passwords_there_is_no_start(stopped: PlatformProcess, tmp_path: Path) -> None:
    """A directory that was restored by half is told, and not given new passwords silently."""
    kept = shutil.move(stopped.data / "secrets.json", tmp_path / "secrets.json")
    try:
        line = refused(stopped)
    finally:
        shutil.move(kept, stopped.data / "secrets.json")
    assert "secrets.json" in line


def test_after_all_that_it_starts(stopped: PlatformProcess) -> None:
    """A refused start leaves nothing behind that stands in the way of the next."""
    stopped.start()
    order_id = stopped.place(str(new_id())).json()["id"]
    stopped.ended(order_id)
    assert stopped.stop() == 0


def test_closed_standard_streams_are_no_error(tmp_path: Path) -> None:
    """A command whose streams are closed asks nothing, deletes nothing, and has no stack trace."""
    command = f"'{sys.executable}' -m waybill reset --data '{tmp_path}' <&- >&-"
    answer = subprocess.run(  # noqa: S602 - the shell closes the streams
        command, shell=True, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert answer.returncode == 1
    assert answer.stderr.strip() == "Aborted!"
    assert tmp_path.exists()
