"""Books that a real run filled."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import free_port_base
from tests.operations.audit.filled import Filled, fill
from tests.sharing import meeting_place, shared

from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def filled(
    session_directory: Path, provisioned_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    """Databases with orders of every kind and dead letters with every verdict; none is moving."""
    place = meeting_place(tmp_path_factory) / "filled-data"
    made = session_directory / "filled-for-all"
    with shared(place, lambda: _filled(made, provisioned_data)) as data:
        own = session_directory / "filled"
        subprocess.run(["cp", "-a", data, own], check=True)
        with EmbeddedPostgres(own) as server:
            yield Filled(server)


@contextmanager
def _filled(data: Path, provisioned_data: Path) -> Iterator[str]:
    subprocess.run(["cp", "-a", provisioned_data, data], check=True)
    with EmbeddedPostgres(data) as server:
        asyncio.run(fill(server, data, free_port_base()))
    yield str(data)
