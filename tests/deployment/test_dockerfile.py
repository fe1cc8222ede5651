"""The Dockerfile, checked without an engine: what it copies, who it runs as, what it starts."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import TypeAlias

from scripts import lock
from tests.deployment.reading import let_through

from waybill.platform.services import PLANS
from waybill.platform.settings import Settings

ROOT = Path(__file__).parents[2]
Stages: TypeAlias = list[list[tuple[str, str]]]


def of(stage: list[tuple[str, str]], name: str) -> list[str]:
    """The arguments of every such instruction."""
    return [rest for found, rest in stage if found == name]


def ignoring() -> list[str]:
    """The patterns of .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_is_copied_exists_and_is_in_the_context(dockerfile: Stages) -> None:
    """Each source is a committed path that .dockerignore lets through."""
    patterns = ignoring()
    sources = [
        source
        for stage in dockerfile
        for rest in of(stage, "COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert len(sources) > 4
    for source in sources:
        assert (ROOT / source).exists()
        assert let_through(source, patterns)


def test_nothing_else_is_in_the_context() -> None:
    """No secret, no data, no history: what is not copied is not sent."""
    patterns = ignoring()
    for path in (".env", ".git", ".venv", ".waybill", "tests", "src/waybill/__pycache__"):
        assert not let_through(path, patterns)


def test_both_stages_stand_on_the_python_of_the_locks(dockerfile: Stages) -> None:
    """One base, named once, with the version that the hashes were resolved for."""
    text = (ROOT / "Dockerfile").read_text()
    assert f"ARG PYTHON={lock.PYTHON}-slim-" in text
    assert [of(stage, "FROM") for stage in dockerfile] == [
        ["python:${PYTHON} AS build"],
        ["python:${PYTHON}"],
    ]


def test_packages_are_installed_by_hash_and_never_compiled(dockerfile: Stages) -> None:
    """What is not pinned, or has no wheel, stops the build."""
    build = " ".join(of(dockerfile[0], "RUN"))
    for name in ("requirements-setup.lock", "requirements.lock"):
        assert f"--require-hashes --only-binary :all: -r {name}" in build
    gone = build.split("uv pip uninstall ")[1].split(" &&")[0].split()
    pinned = (ROOT / "requirements.lock").read_text()
    assert all(f"\n{name}==" in pinned for name in gone)
    assert "hatchling" in gone


def test_the_final_stage_runs_as_nobody_special(dockerfile: Stages) -> None:
    """No package is installed in it, pip leaves it, and the user is a number above 0."""
    final = dockerfile[-1]
    assert " install " not in " ".join(of(final, "RUN"))
    assert "pip uninstall --yes setuptools wheel pip" in " ".join(of(final, "RUN"))
    user = of(final, "USER")[-1]
    assert int(user.split(":")[0]) > 1000
    assert of(final, "COPY") == ["--from=build /opt/waybill /opt/waybill"]


def test_it_starts_our_command(dockerfile: Stages) -> None:
    """The entry point is a script of the project, and its ports are the services'."""
    final = dockerfile[-1]
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    (entry,) = (json.loads(rest) for rest in of(final, "ENTRYPOINT"))
    assert entry[0] in scripts
    base = Settings.model_fields["port_base"].default
    ports = {base + plan.port_offset for plan in PLANS.values()}
    assert {int(port) for port in of(final, "EXPOSE")[0].split()} == ports


def test_a_secret_file_is_never_committed() -> None:
    """.env is ignored by git, too."""
    ignored = subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
