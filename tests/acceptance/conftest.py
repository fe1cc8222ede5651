"""Platforms as fixtures; see processes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import PlatformProcess, free_port_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_platform(data_directory: Path) -> Iterator[Callable[..., PlatformProcess]]:
    """A factory: environment variables in, a platform process (not started) out."""
    made: list[PlatformProcess] = []

    def make(**environment: str) -> PlatformProcess:
        platform = PlatformProcess(
            data_directory, port_base=free_port_base(), environment=environment
        )
        made.append(platform)
        return platform

    yield make
    for platform in made:
        platform.close()


@pytest.fixture
def platform(make_platform: Callable[..., PlatformProcess]) -> PlatformProcess:
    """A running platform whose payments always succeed."""
    return make_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success").start()
