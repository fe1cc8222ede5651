"""Books that a real run filled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import free_port_base
from tests.operations.audit.filled import Filled, fill

from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def filled(session_directory: Path) -> Iterator[Filled]:
    """Databases with orders of every kind and dead letters with every verdict; none is moving."""
    data = session_directory / "filled"
    with EmbeddedPostgres(data) as server:
        asyncio.run(fill(server, data, free_port_base()))
        yield Filled(server)
