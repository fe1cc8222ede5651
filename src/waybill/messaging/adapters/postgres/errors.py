"""Driver errors become messaging errors here, once (see `core.sqlstate` for which)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from waybill.messaging.core.sqlstate import translate

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""All that asyncpg raises for a database that refuses or is away."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise a driver's error as what it means; anything else passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error
