"""What a broker needs is found, installed where we may, fetched once, or named in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.kafka import jars, machine, server
from scripts.kafka.properties import Listeners

ROOT = Path(__file__).resolve().parents[2]
FETCH = "from scripts.kafka import jars; print(jars.fetched())"
MAVEN = """#!/bin/sh
echo called >> "$CALLS"
[ -n "$BROKEN" ] && { echo "no such artifact"; exit 1; }
for word in "$@"; do case "$word" in -DoutputDirectory=*) into="${word#*=}" ;; esac; done
sleep 0.3
mkdir -p "$into" && echo jar > "$into/kafka.jar"
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] && [ -z "$ASKS" ] || { echo "sudo: a password is required" >&2; exit 1; }
shift; BY_SUDO=yes exec "$@"
"""
APT = """#!/bin/sh
[ "$BY_SUDO $DEBIAN_FRONTEND $RUNLEVEL" = "yes noninteractive 1" ] || exit 1
case "$*" in install*maven) : >"${0%/*}/mvn"; /bin/chmod +x "${0%/*}/mvn" ;; esac
"""


@pytest.fixture
def maven(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache, and with a Maven that counts its calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mvn").write_text(MAVEN)
    (programs / "mvn").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "CALLS": str(tmp_path / "calls"),
    }


def fetching(environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that fetches the broker's jars."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_the_jars_once(maven: dict[str, str]) -> None:
    """The second waits for the first, and both have all of them."""
    answers = [process.communicate(timeout=60) for process in (fetching(maven), fetching(maven))]
    places = {Path(told.strip()) for told, _ in answers}
    assert len(places) == 1, answers
    assert (places.pop() / "kafka.jar").exists()
    assert Path(maven["CALLS"]).read_text().count("called") == 1


def test_a_failed_fetch_says_what_maven_said_and_leaves_nothing(maven: dict[str, str]) -> None:
    """So that the next one begins anew."""
    _, told = fetching({**maven, "BROKEN": "yes"}).communicate(timeout=60)
    assert "no such artifact" in told
    assert not any(Path(maven["XDG_CACHE_HOME"]).rglob("*.jar"))
    answer, _ = fetching(maven).communicate(timeout=60)
    assert (Path(answer.strip()) / "kafka.jar").exists()


def test_what_cannot_be_installed_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For those who are not root, without sudo."""
    bare(monkeypatch, tmp_path)
    with pytest.raises(machine.MissingProgramError, match=r"mvn is missing.*apt install maven"):
        machine.program("mvn")


def test_who_is_not_root_installs_by_a_sudo_that_asks_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a runner of a workflow; where sudo would ask, it says so and the package is named."""
    bare(monkeypatch, tmp_path)
    (tmp_path / "env").symlink_to("/usr/bin/env")
    for name, text in (("sudo", SUDO), ("apt-get", APT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("ASKS", "yes")
    with pytest.raises(machine.MissingProgramError, match=r"apt install maven.*a password is"):
        machine.program("mvn")
    monkeypatch.delenv("ASKS")
    assert machine.program("mvn") == str(tmp_path / "mvn")


def bare(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Somebody who is not root, where programs are in `path` only."""
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_an_old_java_is_named_with_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rather than a stack trace of the broker's."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(machine.MissingProgramError, match=r"is Java 11.0.2: Kafka needs 17"):
        machine.program("java")


def test_every_pom_has_a_directory_of_its_own() -> None:
    """Its name tells version and content: another version never finds the jars of this one."""
    names = {jars._name(pom) for pom in (jars.BROKER, jars.CONNECT, jars.DEBEZIUM)}
    assert len(names) == 3
    assert all(name.count("-") >= 2 for name in names)


def test_what_a_java_has_parsed_is_for_that_java_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A broker starts with the archive of its own version's classes, and else without one."""
    monkeypatch.setattr(jars, "fetched", lambda _: tmp_path)
    for version in ("17.0.15", "21.0.2"):
        home = tmp_path / version
        (home / "bin").mkdir(parents=True)
        fake = home / "bin" / "java"
        fake.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        fake.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(home))
        assert "-XX:SharedArchiveFile" not in " ".join(server.java())
        parsed = server.archive(str(fake), tmp_path)
        parsed.touch()
        assert f"-XX:SharedArchiveFile={parsed}" in server.java()


def test_only_the_first_broker_is_formatted_by_kafkas_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every other one has what that left, and ids of its own."""
    formatted = list[Path]()

    def tool(broker: server.Broker, settings: Path) -> None:
        formatted.append(settings)
        (broker.directory / "data").mkdir()
        (broker.directory / "data" / server.CHECKPOINT).write_bytes(b"users")

    monkeypatch.setattr(jars, "fetched", lambda: tmp_path)
    monkeypatch.setattr(server.Broker, "_format_by_tool", tool)
    found = []
    for name in ("first", "second", "third"):
        broker = server.Broker(tmp_path / name, Listeners({"PLAINTEXT": 1}, 2))
        broker.directory.mkdir()
        broker._format(broker.directory / "server.properties")
        data = broker.directory / "data"
        assert (data / server.CHECKPOINT).read_bytes() == b"users"
        if name != "first":
            told = (data / "meta.properties").read_text()
            found += re.findall(r"(?:directory|cluster)\.id=(.+)", told)
    assert len(formatted) == 1
    assert len(set(found)) == 4
