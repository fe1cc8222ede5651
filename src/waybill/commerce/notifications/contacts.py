"""Customers' addresses: the one place of this platform where they are kept (contracts C38).

An address is read when a mail goes out. Events, deliveries, logs and the auditor's role never see
one; deleting the row erases it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.notifications.views import Contact

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from waybill.commerce.notifications.mailer import Email
    from waybill.messaging.core.ports import Database

_ONE = "SELECT email, updated_at FROM personal.contacts WHERE user_id = $1"
_PUT = """
INSERT INTO personal.contacts AS known (user_id, email, created_at, updated_at)
VALUES ($1, $2, $3, $3)
ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, updated_at = excluded.updated_at
"""
_ERASE = "DELETE FROM personal.contacts WHERE user_id = $1"


def same_user(user_id: str) -> str:
    """One spelling of an id, so that a customer's UUID is found however it was written."""
    try:
        return str(UUID(user_id))
    except ValueError:
        return user_id


class Contacts:
    """The addresses of one notification service. Every method may raise TransientError."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def contact(self, user_id: str) -> Contact | None:
        """The customer's contact; None if they left no address."""
        known = same_user(user_id)
        rows = await self._database.fetch(_ONE, known)
        return Contact(known, rows[0]["email"], rows[0]["updated_at"]) if rows else None

    async def put(self, user_id: str, email: str) -> Contact:
        """Keep this address in place of any other; may be repeated."""
        known, now = same_user(user_id), self._now()
        async with self._database.transaction() as transaction:
            await transaction.execute(_PUT, known, email, now)
        return Contact(known, email, now)

    async def erase(self, user_id: str) -> None:
        """Forget the address; may be repeated."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_ERASE, same_user(user_id))

    async def address(self, email: Email) -> str | None:
        """Where this mail goes: an `Addresses`."""
        if not email.customer:
            return None
        found = await self.contact(email.customer)
        return found.email if found else None


async def named_address(email: Email) -> str | None:
    """An `Addresses` where the document's customers are known by their address (seed 001)."""
    return email.customer or None
