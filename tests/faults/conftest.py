"""Platforms under faults as fixtures, and the shards of `make test-faults`."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import free_port_base
from tests.faults.site import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shard 2/3`: the second third of the tests."""
    parser.addoption("--shard", default="1/1", help="part/parts of the tests, as in 2/3")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the tests out to the shards in turns, so that each has some of every kind."""
    part, parts = (int(number) for number in config.getoption("shard", "1/1").split("/"))
    kept = items[part - 1 :: parts]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """One platform for the faults of a file; each leaves it well."""
    directory = session_directory / "under-faults"
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    with opened(
        directory / "data", port_base=free_port_base(), environment={}, stand_ins={}
    ) as made:
        yield made
    shutil.rmtree(directory, ignore_errors=True)
