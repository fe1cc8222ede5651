"""Passwords by Argon2id, a bounded number at once: each costs its memory and a core's time.

Whoever asks for an account that does not exist costs the same work as for one that does.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from waybill.edge.accounts.domain import normal_password
from waybill.messaging.core.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PasswordSettings:
    """OWASP's floor for Argon2id. `concurrency_max` run at once, each in so much."""

    memory_kibibytes: int = 19_456
    passes: int = 2
    lanes: int = 1
    concurrency_max: int = 2
    waiting_max: int = 32
    """Beyond that: 503 at once."""


class Passwords:
    """`close` it at the end. `verifications` counts Argon2's runs, whoever was asked for."""

    def __init__(self, settings: PasswordSettings | None = None) -> None:
        self._settings = settings or PasswordSettings()
        self._hasher = PasswordHasher(
            time_cost=self._settings.passes,
            memory_cost=self._settings.memory_kibibytes,
            parallelism=self._settings.lanes,
        )
        self._threads = ThreadPoolExecutor(
            self._settings.concurrency_max, thread_name_prefix="argon2"
        )
        self._running = 0
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))
        self.verifications = 0

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises OverloadedError: too many at once."""
        return await self._run(lambda: self._hasher.hash(normal_password(password)))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether it is the one. None: there is no such account; as much work, and False.

        Raises OverloadedError.
        """
        against = kept or self._nobody
        matches = await self._run(lambda: self._matches(against, normal_password(password)))
        return matches and kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether it was made with less work than is asked for today."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Let no more in, and wait for those that run."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _matches(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False
        finally:
            self.verifications += 1

    async def _run(self, work: Callable[[], T]) -> T:
        if self._running >= self._settings.concurrency_max + self._settings.waiting_max:
            raise OverloadedError("too many passwords are being checked")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._running -= 1
