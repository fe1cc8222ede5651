"""Versions of events: an older one is raised to today's as it is read, a newer one refused (C39).

Within a version only optional members are added (compatibility.py). Any other change is a new
version, with an upcast from the one before; readers are deployed before writers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from waybill.messaging.core.message import INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

Version = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
"""As a stranger's record tells it: what a column holds."""

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the members of one version into those of the next; numbers are int or Decimal. Pure."""

RAISES: tuple[type[Exception], ...] = (
    msgspec.MsgspecError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading and raising members may end in that are not what their version says."""


def raised(upcasts: Sequence[Upcast], version: int, members: dict[str, Any]) -> dict[str, Any]:
    """These members of `version` as those of today's: the first upcast takes version 1.

    Raises one of RAISES for a version that never was, or members that are not as it has them.
    """
    if version < 1:
        raise ValueError(f"there is no version {version}")
    for upcast in upcasts[version - 1 :]:
        members = upcast(members)
    return members


def newer(version: int, known: int) -> str:
    """What an operator is told of a record that was written by a newer service."""
    return (
        f"version {version} is unknown here, this reader knows {known}: "
        "deploy a newer reader, then redrive it"
    )
