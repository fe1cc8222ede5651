"""What is made once for all workers of a run (pytest-xdist): the first that asks makes it.

The others get what it told. It is ended by its maker, and not before the last user has left.
"""

from __future__ import annotations

import fcntl
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest


def meeting_place(factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this run have."""
    own = factory.getbasetemp()
    return own.parent if own.name.startswith("popen-gw") else own


@contextmanager
def shared(place: Path, make: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """What `make` yields, by whichever process; `place` is the file in which it is told."""
    with ExitStack() as made, place.with_suffix(".users").open("a") as users:
        with _alone(place):
            fcntl.flock(users, fcntl.LOCK_SH)
            is_ours = not place.exists()
            if is_ours:
                place.write_text(made.enter_context(make()))
            told = place.read_text()
        try:
            yield told
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if is_ours:
                with _alone(place):
                    place.unlink()  # who comes now makes one of their own
                fcntl.flock(users, fcntl.LOCK_EX)  # all others have left


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    with place.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
