"""What the accounts service does: register, log in, refresh, log out; each in one transaction.

A refresh token is 256 random bits, kept as its SHA-256 and good for one exchange. One that comes
a second time ends its whole session: either the owner or a thief has an old one.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from waybill.commerce.http.caller import CUSTOMER
from waybill.edge.accounts import domain, store
from waybill.edge.accounts.domain import Account, AccountRegistered, Refresh, Session
from waybill.edge.limits.ports import AttemptLimit

if TYPE_CHECKING:
    from waybill.edge.accounts.key_ring import KeyRing
    from waybill.edge.accounts.passwords import Passwords
    from waybill.edge.limits.ports import Limits
    from waybill.edge.tokens.settings import TokenSettings
    from waybill.messaging.runtime.ports import ServicePorts

logger = logging.getLogger(__name__)

_REFRESH_BYTES: Final = 32
_CLIENT: Final = "waybill"
_PURGED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """What is issued, and how often one may try. A log-in that succeeds clears its account's."""

    tokens: TokenSettings
    access_seconds: int = 900
    session_days: float = 30.0
    sessions_kept_days: float = 7.0
    """Behind their end: so long a stolen old token is told from a made-up one."""
    by_account: AttemptLimit = field(
        default_factory=lambda: AttemptLimit(name="account", attempts_max=5, window_seconds=900.0)
    )
    by_address: AttemptLimit = field(
        default_factory=lambda: AttemptLimit(name="address", attempts_max=20, window_seconds=60.0)
    )


class Granted(msgspec.Struct, frozen=True, rename="camel"):
    """What a log-in or an exchange gives: RFC 6749's members by this API's spelling."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - no secret


class TooManyAttemptsError(Exception):
    """Nothing was looked at: try again later."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("too many attempts")
        self.retry_after_seconds = retry_after_seconds


class Accounts:
    """The `AccountBook` of the accounts service's API."""

    def __init__(
        self,
        ports: ServicePorts,
        settings: AccountSettings,
        *,
        ring: KeyRing,
        passwords: Passwords,
        limits: Limits,
    ) -> None:
        self._ports = ports
        self._settings = settings
        self._ring = ring
        self._passwords = passwords
        self._by_account = limits.attempts(settings.by_account)
        self._by_address = limits.attempts(settings.by_address)

    async def register(
        self, email: str, password: str, *, address: str, traceparent: str | None = None
    ) -> Account | None:
        """A new customer; None if the address has an account. `email` is a normal one."""
        _allow(await self._by_address.take(address))
        password_hash = await self._passwords.hash(password)
        now = self._ports.clock.now()
        account = Account(
            id=self._ports.new_id(), email=email, roles=(CUSTOMER,), version=1, created_at=now
        )
        async with self._ports.database.transaction() as transaction:
            if not await store.register(transaction, account, password_hash):
                return None
            self._ports.unit(transaction).publish(
                AccountRegistered(account_id=account.id, roles=account.roles, registered_at=now),
                key=str(account.id),
                traceparent=traceparent,
                aggregate_type="Account",
                aggregate_version=account.version,
            )
        return account

    async def log_in(self, email: str, password: str, *, address: str) -> Granted | None:
        """A new session; None if address or password is wrong: as much work, whichever it is."""
        _allow(await self._by_address.take(address))
        _allow(await self._by_account.take(email))
        found = await store.by_email(self._ports.database, email)
        kept = found[1] if found is not None else None
        if not await self._passwords.verify(kept, password) or found is None or kept is None:
            return None
        await self._by_account.forget(email)
        account = found[0]
        renewed = await self._passwords.hash(password) if self._passwords.outdated(kept) else None
        now = self._ports.clock.now()
        session = Session(
            id=self._ports.new_id(),
            account_id=account.id,
            expires_at=now + timedelta(days=self._settings.session_days),
        )
        token = secrets.token_urlsafe(_REFRESH_BYTES)
        async with self._ports.database.transaction() as transaction:
            if renewed is not None:
                await store.rehash(transaction, account.id, kept, renewed, now)
            await store.begin(transaction, session, now)
            await store.issue(transaction, _hash(token), session.id, now)
        return await self._granted(account, session, token)

    async def refresh(self, token: str) -> Granted | None:
        """New tokens for a refresh token; None if it is good for nothing (any more)."""
        now = self._ports.clock.now()
        next_token = secrets.token_urlsafe(_REFRESH_BYTES)
        async with self._ports.database.transaction() as transaction:
            found = await store.lock_token(transaction, _hash(token))
            if found is None:
                return None
            session, used_at = found
            match domain.refresh(session, used_at, now):
                case Refresh.REFUSE:
                    return None
                case Refresh.REVOKE:
                    logger.warning("A refresh token came twice: session %s ends", session.id)
                    await store.end(transaction, session.id, now, "reuse")
                    return None
                case Refresh.ROTATE:
                    await store.use(transaction, _hash(token), now)
                    await store.issue(transaction, _hash(next_token), session.id, now)
                    account = await store.by_id(transaction, session.account_id)
        return await self._granted(account, session, next_token) if account is not None else None

    async def log_out(self, token: str) -> None:
        """End the session of this refresh token, used or not. May be repeated."""
        async with self._ports.database.transaction() as transaction:
            found = await store.lock_token(transaction, _hash(token))
            if found is not None:
                now = self._ports.clock.now()
                await store.end(transaction, found[0].id, now, "logout")

    async def account(self, subject: str) -> Account | None:
        """The account that a token's subject names."""
        try:
            account_id = UUID(subject)
        except ValueError:
            return None  # of a foreign issuer
        return await store.by_id(self._ports.database, account_id)

    async def keys(self) -> bytes:
        """The public keys of our tokens (RFC 7517)."""
        return await self._ring.published()

    async def purge(self) -> int:
        """Forget sessions that ended long ago; for the scheduler."""
        before = self._ports.clock.now() - timedelta(days=self._settings.sessions_kept_days)
        async with self._ports.database.transaction() as transaction:
            return await store.purge(transaction, before, _PURGED_AT_ONCE)

    async def _granted(self, account: Account, session: Session, token: str) -> Granted:
        now, tokens = self._ports.clock.now(), self._settings.tokens
        issued_at = int(now.timestamp())
        claims = {
            "iss": tokens.issuer,
            "sub": str(account.id),
            "aud": tokens.audience,
            "iat": issued_at,
            "exp": issued_at + self._settings.access_seconds,
            "jti": str(self._ports.new_id()),
            "client_id": _CLIENT,
            "roles": list(account.roles),
        }
        return Granted(
            access_token=await self._ring.sign(claims, tokens.token_type),
            expires_in=self._settings.access_seconds,
            refresh_token=token,
            refresh_expires_in=max(0, int((session.expires_at - now).total_seconds())),
        )


def _allow(retry_after_seconds: float) -> None:
    if retry_after_seconds > 0:
        raise TooManyAttemptsError(retry_after_seconds)


def _hash(token: str) -> bytes:
    """Random enough to need no salt and no work."""
    return hashlib.sha256(token.encode()).digest()
