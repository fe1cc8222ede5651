"""The accounts service put together: its codec, its work, its routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.edge.accounts.accounts import Accounts
from waybill.edge.accounts.api import surface
from waybill.edge.accounts.domain import AccountRegistered
from waybill.edge.accounts.key_ring import KeyRing
from waybill.edge.accounts.listed import DATABASE, EVENT_NAME, NAME, TOPIC
from waybill.edge.accounts.passwords import Passwords
from waybill.edge.limits.memory import MemoryLimits
from waybill.edge.tokens.keys import IssuerKeys
from waybill.edge.tokens.verifier import TokenVerifier
from waybill.messaging.core.codec import EventType, JsonCodec

if TYPE_CHECKING:
    from waybill.commerce.http.surface import Surface
    from waybill.edge.accounts.accounts import AccountSettings
    from waybill.edge.accounts.domain import KeySchedule
    from waybill.edge.accounts.passwords import PasswordSettings
    from waybill.edge.address import Network
    from waybill.edge.limits.ports import Limits
    from waybill.messaging.runtime.ports import ServicePorts

__all__ = ["DATABASE", "NAME", "PURGE_SECONDS", "TOPIC", "BuiltAccounts", "build", "codec"]

PURGE_SECONDS: Final = 3_600.0


def codec() -> JsonCodec:
    """Plain JSON in our own form: no document has these events."""
    return JsonCodec([EventType(AccountRegistered, TOPIC, EVENT_NAME)])


@dataclass(frozen=True, kw_only=True)
class BuiltAccounts:
    """Ready to serve. `close` it when its server has stopped; call `purge` now and then."""

    surface: Surface
    accounts: Accounts
    passwords: Passwords
    verifier: TokenVerifier

    def close(self) -> None:
        """End the threads that check passwords."""
        self.passwords.close()


def build(
    ports: ServicePorts,
    settings: AccountSettings,
    *,
    passwords: PasswordSettings | None = None,
    schedule: KeySchedule | None = None,
    proxies: tuple[Network, ...] = (),
    limits: Limits | None = None,
) -> BuiltAccounts:
    """Everything behind its routes. It verifies its own tokens as every other service does.

    Without `limits` attempts are counted in this process.
    """
    checked = Passwords(passwords)
    accounts = Accounts(
        ports,
        settings,
        ring=KeyRing(ports, schedule),
        passwords=checked,
        limits=limits or MemoryLimits(monotonic=ports.clock.monotonic),
    )
    keys = IssuerKeys(accounts.keys, settings.tokens, monotonic=ports.clock.monotonic)
    verifier = TokenVerifier(settings.tokens, keys, now=ports.clock.now)
    routes = surface(
        book=accounts, verifier=verifier, issuer=settings.tokens.issuer, proxies=proxies
    )
    return BuiltAccounts(surface=routes, accounts=accounts, passwords=checked, verifier=verifier)
