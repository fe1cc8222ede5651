"""Where the registry keeps its entries: a port, and this process' memory.

What is kept may be lost: every instance registers again when its next heartbeat is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class RegistryStore(Protocol):
    """Bytes by key. Every method may raise TransientError: then nothing is known to be done."""

    async def read(self) -> Mapping[str, bytes]:
        """Everything."""

    async def get(self, key: str) -> bytes | None:
        """One value."""

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """Put `new` in place of `old` (None: nothing), atomically; False if it is not `old`."""

    async def close(self) -> None:
        """Close its connections. May be repeated."""


class MemoryStore:
    """Of one process; gone with it."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def read(self) -> Mapping[str, bytes]:
        """See RegistryStore."""
        return dict(self._values)

    async def get(self, key: str) -> bytes | None:
        """See RegistryStore."""
        return self._values.get(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        """See RegistryStore."""
        if self._values.get(key) != old:
            return False
        if new is None:
            self._values.pop(key, None)
        else:
            self._values[key] = new
        return True

    async def close(self) -> None:
        """See RegistryStore."""
