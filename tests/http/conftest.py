"""What stands on sockets is tried on both loops: Python's, and the platform's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

_ON_SOCKETS = frozenset({"test_connection.py", "test_server.py"})


def pytest_asyncio_loop_factories(item: pytest.Item) -> Factories:
    """By their names in the tests' ids."""
    factories: Factories = {"asyncio": asyncio.new_event_loop}
    return {**factories, "uvloop": uvloop.new_event_loop} if _on_sockets(item) else factories


def _on_sockets(item: pytest.Item) -> bool:
    return item.path.name in _ON_SOCKETS
