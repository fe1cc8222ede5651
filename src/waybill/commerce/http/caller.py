"""Who calls: the subject of a token that this very process has verified. No header makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

import msgspec

if TYPE_CHECKING:
    from starlette.types import Scope

CUSTOMER: Final = "customer"
OPERATOR: Final = "operator"
ADMIN: Final = "admin"
ROLES: Final = (CUSTOMER, OPERATOR, ADMIN)
"""What a caller may be, from least to most."""
SCOPE_KEY: Final = "waybill.caller"
"""Where the edge puts whom it has verified."""
_FOREIGN: Final = UUID("6f0b8a52-8f0e-5b0a-9a55-3f6f4f0b6a10")
"""Namespace of subjects that are no UUIDs."""


def customer_of(subject: str) -> UUID:
    """Whom orders belong to: the subject itself where it is a UUID, as ours are."""
    try:
        return UUID(subject)
    except ValueError:
        return uuid5(_FOREIGN, subject)


class Caller(msgspec.Struct, frozen=True):
    """`expires_at` is in seconds of the epoch: the token's own word, without leeway."""

    subject: str
    roles: frozenset[str]
    expires_at: float

    @property
    def customer_id(self) -> UUID:
        """See customer_of."""
        return customer_of(self.subject)

    @property
    def serves(self) -> bool:
        """Whether they may see what belongs to others."""
        return not self.roles.isdisjoint((OPERATOR, ADMIN))


def caller_of(scope: Scope) -> Caller | None:
    """Who calls; None while there are no tokens, and on routes that ask for none."""
    caller: Caller | None = scope.get(SCOPE_KEY)
    return caller


def owner_of(scope: Scope) -> UUID | None:
    """Whose things alone the caller may see; None: anybody's (operators, or no tokens)."""
    caller = caller_of(scope)
    return None if caller is None or caller.serves else caller.customer_id
