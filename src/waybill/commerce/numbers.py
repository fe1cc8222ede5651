"""Ids that a document knows as whole numbers: the UUID that stands for each inside, and back."""

from __future__ import annotations

from typing import Final
from uuid import UUID

NUMBER_MAX: Final = 2**31 - 1
"""A document's `int`."""


def id_of(number: int) -> UUID:
    """The id that stands for a number (as `notify.number` in SQL, the other way)."""
    return UUID(int=number)


def number_of(id_: UUID) -> int:
    """The number that an id stands for."""
    return id_.int
