"""The files that describe containers, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deployment.reading import Services, instructions

from waybill.platform.env_file import write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def dot_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make env` writes, as variables."""
    file = tmp_path_factory.mktemp("env") / ".env"
    write(file)
    assigned = [line for line in file.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in assigned)


@pytest.fixture(scope="session")
def compose(dot_env: dict[str, str]) -> dict[str, Any]:
    """compose.yaml with its variables put in from that file."""

    def put(found: re.Match[str]) -> str:
        default = found["default"]
        value = dot_env.get(found["name"], "")
        assert value or default is not None, f"{found['name']} is not in .env and has no default"
        return value or str(default)

    variable = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}")
    parsed = yaml.safe_load(variable.sub(put, (ROOT / "compose.yaml").read_text()))
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture(scope="session")
def containers(compose: dict[str, Any]) -> Services:
    """Every service of the file by name."""
    services: Services = compose["services"]
    return services


@pytest.fixture(scope="session")
def dockerfile() -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    stages: list[list[tuple[str, str]]] = [[]]
    for name, rest in instructions((ROOT / "Dockerfile").read_text()):
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages[1:]
