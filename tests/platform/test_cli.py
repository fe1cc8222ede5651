"""The `waybill` command explains itself, and says in one line what is wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from tests.acceptance.forked import completed
from typer.testing import CliRunner

from waybill.cli import app
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform import foreground
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from waybill.platform.settings import Settings

NAMED = {
    *("up", "down", "logs", "seed", "demo", "reset", "serve", "status", "psql"),
    *("audit", "bench", "env", "lag", "migrate", "provision"),
}


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own click
    """Every command that does something, by its full name."""
    root: Any = group or typer.main.get_command(app)
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def waybill(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command line to its end."""
    return completed("waybill", *arguments, environment=environment)


def test_the_promised_commands_are_there() -> None:
    """What the README and the runbook name."""
    names = {name for name, _ in commands()}
    assert names >= NAMED
    assert names >= {
        *("topics list", "topics read"),
        *("consumers list", "consumers reset", "consumers forget"),
        *("dead-letters list", "dead-letters show"),
        *("dead-letters redrive", "dead-letters discard"),
        *("deliveries list", "deliveries resolve"),
        *("prices list", "prices set", "prices remove"),
        *("customers export", "customers erase"),
    }


def test_the_version_is_told_without_a_command() -> None:
    """What a bug report begins with; by a process as users start it."""
    command = [sys.executable, "-m", "waybill", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.strip() == version("waybill")


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_an_example_and_takes_a_place(name: str, command: Any) -> None:  # noqa: ANN401 - typer's own click
    """`--data` and `--port-base` everywhere, so that platforms run side by side."""
    assert f"Example: waybill {name}" in command.help
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--data", "--port-base"} <= options
    assert all(parameter.help for parameter in command.params if parameter.name != "help"), name


def test_help_is_a_line_a_command() -> None:
    """Nothing of the overview is cut off."""
    shown = waybill("--help")
    assert shown.returncode == 0
    overview = shown.stdout.partition("Commands:")[2]
    assert overview
    assert "..." not in overview


def expect_refusal(shown: subprocess.CompletedProcess[str], words: str) -> None:
    """One line on stderr, status 1, no stack trace."""
    assert shown.returncode == 1
    assert shown.stderr.startswith("waybill: ")
    assert shown.stderr.count("\n") == 1, shown.stderr
    assert words in shown.stderr


def test_an_unknown_setting_is_refused(data_directory: Path) -> None:
    """Before anything is started."""
    shown = waybill("up", "--data", str(data_directory), WAYBILL_PORTBASE="1")
    expect_refusal(shown, "did you mean WAYBILL_PORT_BASE?")
    assert not data_directory.exists()


def test_a_port_in_use_is_refused(data_directory: Path) -> None:
    """It says which; no database was started."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        place = ("--data", str(data_directory), "--port-base", str(port - 1))
        expect_refusal(waybill("up", *place), f"127.0.0.1:{port}")
    assert not (data_directory / "postgres").exists()


def test_a_second_platform_on_the_same_data_is_refused(data_directory: Path) -> None:
    """Also when a port is in use: the data are what matters (E2)."""
    with EmbeddedPostgres(data_directory):
        for command in (("up",), ("serve", "order")):
            shown = waybill(*command, "--data", str(data_directory))
            expect_refusal(shown, "in use by another waybill")


@pytest.mark.parametrize(
    "command", ["topics list", "consumers list", "dead-letters list", "deliveries list"]
)
def test_without_data_there_is_nothing_to_look_at(data_directory: Path, command: str) -> None:
    """The line names the directory; the place may stand before the command as well."""
    shown = waybill("--data", str(data_directory), *command.split())
    expect_refusal(shown, f"{data_directory} holds no data")


def test_down_and_reset_without_a_platform_do_nothing(data_directory: Path) -> None:
    """Safe to repeat."""
    place = ("--data", str(data_directory))
    assert waybill("down", *place).stdout == f"nothing runs on {data_directory}\n"
    assert waybill("reset", "--yes", *place).stdout == f"there are no data in {data_directory}\n"


def test_a_wrong_command_line_is_status_2() -> None:
    """As everywhere."""
    assert waybill("up", "--nonsense").returncode == 2
    assert waybill("serve", "everything").returncode == 2


@pytest.mark.parametrize("command", [("up",), ("serve", "order")])
def test_an_open_address_is_said_on_the_command_line(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C43: without tokens `--insecure` must be said; the service then listens where it was told."""
    started: list[Settings] = []
    monkeypatch.setenv("WAYBILL_HOST", "0.0.0.0")  # noqa: S104 - what is asked for
    monkeypatch.setattr(
        foreground, "run_in_foreground", lambda settings, *_, **__: started.append(settings)
    )
    refused = CliRunner().invoke(app, [*command])
    assert isinstance(refused.exception, ConfigurationError)
    assert "--insecure" in str(refused.exception)
    assert started == []
    assert CliRunner().invoke(app, [*command, "--insecure"]).exit_code == 0
    assert [settings.host for settings in started] == ["0.0.0.0"]  # noqa: S104 - as above
