"""The import contracts of pyproject.toml hold, and each of them would notice a violation."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "waybill"
LINTER = Path(sys.executable).with_name("lint-imports")

PLANTS = {
    "house": [
        ("messaging/core/planted.py", "import waybill.commerce.contracts"),
        ("commerce/planted.py", "import waybill.blueprints.choreography"),
        ("blueprints/planted.py", "import waybill.platform.embedded"),
        ("commerce/orders/planted.py", "import waybill.platform.embedded"),
        ("edge/tokens/planted.py", "import waybill.platform.embedded"),
        ("commerce/planted.py", "import waybill.edge.tokens.claims"),
        ("surprise/__init__.py", "X = 1"),
    ],
    "messaging": [
        ("messaging/runtime/planted.py", "import waybill.messaging.adapters.memory"),
        ("messaging/adapters/memory/planted.py", "import waybill.messaging.runtime"),
        ("messaging/core/planted.py", "import waybill.messaging.runtime"),
        ("messaging/surprise.py", "X = 1"),
    ],
    "adapters": [
        ("messaging/adapters/memory/planted.py", "import waybill.messaging.adapters.postgres"),
        ("messaging/adapters/postgres/planted.py", "import waybill.messaging.adapters.memory"),
    ],
    "services": [
        ("commerce/orders/planted.py", "import waybill.commerce.payments.domain"),
        ("commerce/payments/planted.py", "import waybill.commerce.inventory.domain"),
        ("commerce/notifications/planted.py", "import waybill.commerce.orders.domain"),
    ],
    "ports": [
        ("commerce/orders/planted.py", "import waybill.messaging.adapters.postgres"),
        ("blueprints/planted.py", "import waybill.messaging.adapters.memory"),
        ("edge/accounts/planted.py", "import waybill.messaging.adapters.postgres"),
    ],
    "pure": [
        ("messaging/core/planted.py", "import asyncio"),
        ("messaging/core/planted.py", "import asyncpg"),
        ("commerce/orders/domain.py", "import random"),
        ("commerce/inventory/domain.py", "import sqlalchemy"),
        ("commerce/process.py", "import time"),
        ("edge/accounts/domain.py", "import random"),
        ("commerce/contracts.py", "import socket"),
    ],
    "library": [
        ("messaging/runtime/planted.py", "import structlog"),
        ("messaging/adapters/postgres/planted.py", "import fastapi"),
    ],
}

LIBRARY_MAY_IMPORT = {"alembic", "asyncpg", "msgspec", "opentelemetry", "sqlalchemy", "waybill"}


def lint(directory: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """Check one contract, or all, on the `waybill` that lies in this directory."""
    chosen = ["--contract", contract] if contract else []
    return subprocess.run(
        [LINTER, "--no-cache", "--config", str(ROOT / "pyproject.toml"), *chosen],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A directory with a copy of our source to plant in."""
    shutil.copytree(
        SOURCE,
        tmp_path / "waybill",
        ignore=lambda directory, names: [
            name for name in names if not (Path(directory, name).is_dir() or name.endswith(".py"))
        ],
    )
    return tmp_path


def test_every_contract_holds() -> None:
    """Dependencies point the way that design.md draws."""
    found = lint(ROOT / "src")
    assert found.returncode == 0, found.stdout


def test_every_contract_has_a_planted_violation() -> None:
    """No contract is taken on trust."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {contract["id"] for contract in declared["contracts"]} == set(PLANTS)


@pytest.mark.parametrize("contract", PLANTS)
def test_a_planted_violation_breaks_its_contract(copy: Path, contract: str) -> None:
    """An import against the grain is found, wherever it is: each of them is named."""
    for path, line in PLANTS[contract]:
        target = copy / "waybill" / path
        target.parent.mkdir(exist_ok=True)
        target.write_text((target.read_text() if target.exists() else "") + f"\n{line}\n")

    found = lint(copy, contract)

    assert found.returncode == 1, found.stdout
    assert "1 broken" in found.stdout, found.stdout
    for path, line in PLANTS[contract]:
        module = f"waybill.{path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
        _, _, imported = line.partition("import ")
        named = f"{module} -> {imported} (" if imported else module
        assert named in found.stdout, found.stdout


def test_the_services_of_the_contract_are_the_services_there_are() -> None:
    """A new service cannot be forgotten in the contract of independence."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    named = next(c["modules"] for c in declared["contracts"] if c["id"] == "services")
    services = {f"waybill.commerce.{path.parent.name}" for path in SOURCE.glob("commerce/*/api.py")}
    assert services == set(named)


def test_the_library_imports_only_what_it_declares() -> None:
    """Messaging runs without the commerce extra: nothing but its own dependencies, no OTel SDK."""
    found = {
        (path.relative_to(SOURCE), name)
        for path in SOURCE.glob("messaging/**/*.py")
        for name in foreign_imports(path.read_text())
        if not (name == "pytest" and "testing" in path.parts)  # its users have that
        if not (name.startswith("confluent_kafka") and "kafka" in path.parts)  # an extra of its own
        if not (name.startswith("asyncmy") and "mysql" in path.parts)  # another one
    }
    assert not found


@pytest.mark.parametrize(
    "line", ["import structlog", "from opentelemetry.sdk import trace", "import yaml.nodes"]
)
def test_an_undeclared_import_of_the_library_is_found(line: str) -> None:
    """The check above would see it, also inside a function."""
    assert foreign_imports(f"def f() -> None:\n    {line}\n")


def foreign_imports(source: str) -> set[str]:
    """What a module of messaging imports without being allowed to."""
    names = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    allowed = LIBRARY_MAY_IMPORT | sys.stdlib_module_names
    return {
        name
        for name in names
        if name.split(".")[0] not in allowed or name.startswith("opentelemetry.sdk")
    }
