"""Driver errors become messaging errors here, once (see `core.sqlstate` for which)."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

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


class Terminable(Protocol):
    """A connection of asyncpg."""

    def terminate(self) -> None:
        """Close the socket without a word."""


def discard(connection: Terminable) -> None:
    """Close a connection whose state is not known; one that is closed already stays so."""
    with suppress(*DRIVER_ERRORS):
        connection.terminate()
