"""SQL of accounts, sessions and signing keys. Secrets go in as hashes, but for the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.edge.accounts.domain import Account, Session, SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

_ACCOUNT = "id, email, roles, version, created_at"

_REGISTER = """
INSERT INTO private.accounts (id, email, password_hash, roles, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (email) DO NOTHING RETURNING id
"""

_BY_EMAIL = f"SELECT {_ACCOUNT}, password_hash FROM private.accounts WHERE email = $1"  # noqa: S608 - a constant
_BY_ID = f"SELECT {_ACCOUNT} FROM private.accounts WHERE id = $1"  # noqa: S608 - a constant

_NEWEST = f"SELECT {_ACCOUNT} FROM private.accounts ORDER BY id DESC LIMIT $1"  # noqa: S608 - a constant
_GIVE = """
UPDATE private.accounts SET roles = $2, updated_at = now() WHERE email = $1
"""

_REHASH = """
UPDATE private.accounts SET password_hash = $3, updated_at = $4
WHERE id = $1 AND password_hash = $2
"""

_BEGIN = """
INSERT INTO private.sessions (id, account_id, created_at, expires_at) VALUES ($1, $2, $3, $4)
"""

_ISSUE = """
INSERT INTO private.refresh_tokens (hash, session_id, issued_at) VALUES ($1, $2, $3)
"""

# Two statements: a join under one lock could show the token as it was before the lock was had.
_LOCK_ISSUED = """
SELECT session_id, used_at FROM private.refresh_tokens WHERE hash = $1 FOR UPDATE
"""
_LOCK_SESSION = """
SELECT id, account_id, expires_at, ended_at FROM private.sessions WHERE id = $1 FOR UPDATE
"""

_USE = "UPDATE private.refresh_tokens SET used_at = $2 WHERE hash = $1"

_END = """
UPDATE private.sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL
"""

_PURGE = """
DELETE FROM private.sessions
WHERE id IN (SELECT id FROM private.sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)
"""

_KEYS = "SELECT kid, private_key, signs_from FROM private.signing_keys"
_ADD_KEY = """
INSERT INTO private.signing_keys (kid, private_key, created_at, signs_from)
VALUES ($1, $2, $3, $4)
"""
_DROP_KEYS = "DELETE FROM private.signing_keys WHERE kid = ANY($1)"

_KEYS_LOCK = "SELECT pg_advisory_xact_lock(1462846542)"
"""One process makes a key; the others wait and then find it."""


async def register(transaction: Transaction, account: Account, password_hash: str) -> bool:
    """Whether the address was free."""
    rows = await transaction.fetch(
        _REGISTER,
        account.id,
        account.email,
        password_hash,
        list(account.roles),
        account.version,
        account.created_at,
    )
    return bool(rows)


async def by_email(database: Database, email: str) -> tuple[Account, str] | None:
    """The account of this address, with its password's hash."""
    rows = await database.fetch(_BY_EMAIL, email)
    return (_account(rows[0]), rows[0]["password_hash"]) if rows else None


async def by_id(database: Database | Transaction, account_id: UUID) -> Account | None:
    """The account of this id."""
    rows = await database.fetch(_BY_ID, account_id)
    return _account(rows[0]) if rows else None


async def newest(database: Database, limit: int) -> list[Account]:
    """At most `limit` accounts; their ids ascend with time."""
    return [_account(row) for row in await database.fetch(_NEWEST, limit)]


async def give(transaction: Transaction, email: str, roles: Sequence[str]) -> bool:
    """Set the roles of the account with this address; whether there is one."""
    return await transaction.execute(_GIVE, email, list(roles)) > 0


async def rehash(
    transaction: Transaction, account_id: UUID, old: str, new: str, now: datetime
) -> None:
    """Keep the same password with more work, unless it was changed meanwhile."""
    await transaction.execute(_REHASH, account_id, old, new, now)


async def begin(transaction: Transaction, session: Session, now: datetime) -> None:
    """A new session."""
    await transaction.execute(_BEGIN, session.id, session.account_id, now, session.expires_at)


async def issue(
    transaction: Transaction, token_hash: bytes, session_id: UUID, now: datetime
) -> None:
    """A refresh token of a session."""
    await transaction.execute(_ISSUE, token_hash, session_id, now)


async def lock_token(
    transaction: Transaction, token_hash: bytes
) -> tuple[Session, datetime | None] | None:
    """The session of a refresh token and when it was used; both locked. None: no such token."""
    rows = await transaction.fetch(_LOCK_ISSUED, token_hash)
    if not rows:
        return None
    sessions = await transaction.fetch(_LOCK_SESSION, rows[0]["session_id"])
    if not sessions:
        return None
    found = sessions[0]
    session = Session(
        id=found["id"],
        account_id=found["account_id"],
        expires_at=found["expires_at"],
        ended_at=found["ended_at"],
    )
    return session, rows[0]["used_at"]


async def use(transaction: Transaction, token_hash: bytes, now: datetime) -> None:
    """Mark a locked token as used."""
    await transaction.execute(_USE, token_hash, now)


async def end(transaction: Transaction, session_id: UUID, now: datetime, reason: str) -> None:
    """End a session with all its refresh tokens; what ended before stays as it was."""
    await transaction.execute(_END, session_id, now, reason)


async def purge(transaction: Transaction, before: datetime, limit: int) -> int:
    """Forget at most `limit` sessions that expired before; how many it were."""
    return await transaction.execute(_PURGE, before, limit)


async def keys(database: Database | Transaction) -> list[SigningKey]:
    """All signing keys."""
    return [
        SigningKey(kid=row["kid"], private_key=row["private_key"], signs_from=row["signs_from"])
        for row in await database.fetch(_KEYS)
    ]


async def lock_keys(transaction: Transaction) -> None:
    """Let nobody else add or drop keys until the transaction ends."""
    await transaction.fetch(_KEYS_LOCK)


async def add_key(transaction: Transaction, key: SigningKey, now: datetime) -> None:
    """Publish a key."""
    await transaction.execute(_ADD_KEY, key.kid, key.private_key, now, key.signs_from)


async def drop_keys(transaction: Transaction, dropped: Sequence[SigningKey]) -> None:
    """Forget keys for good."""
    await transaction.execute(_DROP_KEYS, [key.kid for key in dropped])


def _account(row: Row) -> Account:
    return Account(
        id=row["id"],
        email=row["email"],
        roles=tuple(row["roles"]),
        version=row["version"],
        created_at=row["created_at"],
    )
