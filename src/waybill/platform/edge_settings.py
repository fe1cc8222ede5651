"""The edge's values out of the platform's settings: which issuer, which limits, which addresses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from waybill.edge.accounts.accounts import AccountSettings
from waybill.edge.address import networks
from waybill.edge.gateway.settings import ADDRESS, SUBJECT, GatewaySettings
from waybill.edge.limits.ports import Quota
from waybill.edge.tokens.discovery import KeyAddress
from waybill.edge.tokens.keys import IssuerKeys
from waybill.edge.tokens.settings import TokenSettings
from waybill.edge.tokens.verifier import TokenVerifier
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.own_databases import secret
from waybill.platform.provisioning import SERVICES_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.messaging.runtime.clock import Clock
    from waybill.platform.databases import Server
    from waybill.platform.settings import Settings

GATEWAY_OFFSET, ACCOUNTS_OFFSET, OPERATIONS_OFFSET = 0, 6, 7
"""Ports above the base (contracts C19); the last is the gateway's metrics, on loopback only."""
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


def token_settings(settings: Settings) -> TokenSettings | None:
    """Whose tokens are taken; None: nobody is asked for one. Raises ConfigurationError."""
    issuer = settings.tokens_issuer
    if not issuer and settings.accounts:
        issuer = f"http://127.0.0.1:{settings.port_base + ACCOUNTS_OFFSET}"
    if not issuer:
        return None
    return TokenSettings(
        issuer=issuer,
        audience=settings.tokens_audience,
        algorithm=settings.tokens_algorithm,
        token_type=settings.tokens_type,
        roles_claim=settings.tokens_roles_claim,
        jwks_url=settings.tokens_jwks_url or _own_keys(settings),
        ca_file=settings.tokens_ca_file,
        lifetime_seconds_max=settings.tokens_lifetime_seconds_max,
        leeway_seconds=settings.tokens_leeway_seconds,
    )


def token_verifier(settings: Settings, clock: Clock) -> TokenVerifier | None:
    """Verifies tokens by the issuer's keys, which come over HTTP; None: nobody is asked."""
    tokens = token_settings(settings)
    if tokens is None:
        return None
    keys = IssuerKeys(KeyAddress(tokens).fetch, tokens, monotonic=clock.monotonic)
    return TokenVerifier(tokens, keys, now=clock.now)


def services_token(server: Server) -> str:
    """What our services show one another; "" on servers of the user's without SERVICES_TOKEN.

    Raises ConfigurationError for one that is guessed first or cannot be read.
    """
    if isinstance(server, EmbeddedPostgres):
        return server.secrets.password(SERVICES_TOKEN)
    mistakes: list[str] = []
    token = secret(os.environ, "SERVICES_TOKEN", mistakes)
    if mistakes:
        raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
    return token or ""


def _own_keys(settings: Settings) -> str:
    """Our accounts are asked where they are, whatever address the world knows them by."""
    if not settings.accounts:
        return ""
    return f"http://127.0.0.1:{settings.port_base + ACCOUNTS_OFFSET}/.well-known/jwks.json"


def account_settings(tokens: TokenSettings) -> AccountSettings:
    """What our accounts issue."""
    return AccountSettings(tokens=tokens)


def proxies_of(settings: Settings) -> tuple[str, ...]:
    """Addresses of proxies in front of us."""
    return tuple(text for text in settings.trusted_proxies.split(",") if text.strip())


def gateway_settings(settings: Settings, offsets: Mapping[str, int]) -> GatewaySettings:
    """The services of this machine behind it. Raises ConfigurationError."""
    return GatewaySettings(
        upstreams={
            name: (f"http://127.0.0.1:{settings.port_base + offset}",)
            for name, offset in offsets.items()
        },
        subject=Quota(SUBJECT.name, settings.gateway_subject_requests_per_minute, 60),
        address=Quota(ADDRESS.name, settings.gateway_address_requests_per_minute, 60),
        proxies=networks(proxies_of(settings)),
        cors_origins=tuple(
            origin.strip() for origin in settings.gateway_cors_origins.split(",") if origin.strip()
        ),
    )


def accounts_proxies(settings: Settings) -> tuple[str, ...]:
    """Whose X-Forwarded-For the accounts service takes: the gateway's of this machine."""
    return _LOOPBACK if settings.gateway else proxies_of(settings)
