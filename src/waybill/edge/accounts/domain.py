"""Accounts, sessions and signing keys: what is decided about them, without clock or chance."""

from __future__ import annotations

import itertools
import re
import unicodedata
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

EMAIL_CHARACTERS_MAX: Final = 254
PASSWORD_CHARACTERS_MIN, PASSWORD_CHARACTERS_MAX = 8, 128
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


class AccountRegistered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody has an account. A reference only: the address stays in the accounts' books (I45)."""

    account_id: UUID
    roles: tuple[str, ...]
    registered_at: datetime


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account, as its books have it. Its password's hash stays with the store."""

    id: UUID
    email: str
    roles: tuple[str, ...]
    version: int
    created_at: datetime


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A family of refresh tokens: from one log-in to its end."""

    id: UUID
    account_id: UUID
    expires_at: datetime
    ended_at: datetime | None = None


class Refresh(StrEnum):
    """What becomes of a refresh token that is presented."""

    ROTATE = "rotate"
    REFUSE = "refuse"
    REVOKE = "revoke"


def refresh(session: Session, used_at: datetime | None, now: datetime) -> Refresh:
    """A token that was used already is somebody else's as well: its whole family ends."""
    if session.ended_at is not None or now >= session.expires_at:
        return Refresh.REFUSE
    return Refresh.ROTATE if used_at is None else Refresh.REVOKE


def normal_email(text: str) -> str | None:
    """The one spelling that an address is known by; None if it is none."""
    email = unicodedata.normalize("NFC", text.strip()).lower()
    if len(email) > EMAIL_CHARACTERS_MAX or not email.isprintable():
        return None
    return email if _EMAIL.fullmatch(email) else None


def normal_password(text: str) -> str:
    """The same bytes from every keyboard (NIST SP 800-63B: NFKC)."""
    return unicodedata.normalize("NFKC", text)


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """`signs_from` lies ahead of its publication, so that everybody knows it when it signs."""

    kid: str
    private_key: str
    signs_from: datetime

    def __repr__(self) -> str:
        return f"SigningKey({self.kid!r}, signs_from={self.signs_from.isoformat()})"


class KeySchedule(msgspec.Struct, frozen=True, kw_only=True):
    """When keys come and go. `ahead` is twice as long as verifiers keep a key set."""

    rotation: timedelta = timedelta(days=30)
    ahead: timedelta = timedelta(seconds=600)
    kept: timedelta = timedelta(seconds=900 + 60)
    """Behind its successor's first signature: an access token's life, and clocks apart."""


def signing(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """The key that signs: the newest whose time has come, or the first of all."""
    known = sorted(keys, key=_order)
    return max((key for key in known if key.signs_from <= now), key=_order, default=known[0])


def superseded(
    keys: Sequence[SigningKey], schedule: KeySchedule, now: datetime
) -> list[SigningKey]:
    """Those that no token can be verified by any more."""
    known = sorted(keys, key=_order)
    return [
        key
        for key, successor in itertools.pairwise(known)
        if successor.signs_from + schedule.kept <= now
    ]


def next_signs_from(
    keys: Sequence[SigningKey], schedule: KeySchedule, now: datetime
) -> datetime | None:
    """When a new key is to sign first; None if none is due."""
    if not keys:
        return now
    newest = max(key.signs_from for key in keys)
    return now + schedule.ahead if now >= newest + schedule.rotation - schedule.ahead else None


def _order(key: SigningKey) -> tuple[datetime, str]:
    return key.signs_from, key.kid
