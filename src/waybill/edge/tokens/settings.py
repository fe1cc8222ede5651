"""What an access token must be. Every limit is here, with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from waybill.commerce.http.client import LOOPBACK
from waybill.messaging.core.errors import ConfigurationError

Algorithm = Literal["ES256", "ES384", "EdDSA", "RS256", "PS256"]
KEY_TYPES: Final[dict[Algorithm, str]] = {
    "ES256": "EC",
    "ES384": "EC",
    "EdDSA": "OKP",
    "RS256": "RSA",
    "PS256": "RSA",
}
"""Signatures with a public key only: a key that verifies must never be one that signs."""
LIFETIME_SECONDS: Final = 900
"""Of our own access tokens."""


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """One issuer, one algorithm, one type: nothing of it is taken from a token (C41).

    The defaults are for our own accounts. For Keycloak: `algorithm="RS256"`, `token_type="JWT"`,
    `roles_claim="realm_access.roles"` and the audience that its client scope puts in.
    """

    issuer: str
    audience: str = "waybill"
    algorithm: Algorithm = "ES256"
    token_type: str = "at+jwt"  # noqa: S105 - no secret: RFC 9068's name
    roles_claim: str = "roles"
    """Where the roles stand; dots lead into objects."""
    jwks_url: str = ""
    """Where the keys are; not set: where the issuer's own configuration says (OIDC discovery)."""
    ca_file: str = ""
    lifetime_seconds_max: float = float(LIFETIME_SECONDS)
    leeway_seconds: float = 30.0
    """How far clocks may be apart."""
    token_bytes_max: int = 8_192
    keys_seconds_max: float = 300.0
    """Keys are asked for again after so long."""
    keys_refetch_seconds_min: float = 60.0
    """A key that nobody knows is no reason to ask again sooner: anybody can make one up."""
    keys_retry_seconds: float = 5.0
    """An issuer that did not answer is asked again after so long."""
    keys_stale_seconds_max: float = 3_600.0
    """While it does not answer, the keys it last gave are good for so long, and no longer."""
    cache_size_max: int = 10_000
    """Verified tokens that are remembered until they expire."""

    def __post_init__(self) -> None:
        for url in (self.issuer, self.jwks_url or self.issuer):
            require_safe(url)
        if self.algorithm not in KEY_TYPES:
            raise ConfigurationError(
                f"algorithm {self.algorithm!r}: give one of {', '.join(KEY_TYPES)}"
            )
        if not self.audience or not self.token_type:
            raise ConfigurationError("a token needs an audience and a type: give both")
        if not 0 <= self.leeway_seconds <= 60:  # noqa: PLR2004 - RFC 7519: "a few minutes" at most
            raise ConfigurationError("leeway_seconds must be 0 to 60")
        if self.keys_refetch_seconds_min < 1 or self.cache_size_max < 1:
            raise ConfigurationError(
                "keys_refetch_seconds_min and cache_size_max must be at least 1"
            )


def require_safe(url: str) -> None:
    """Raise ConfigurationError unless keys from this address can be trusted: TLS, or loopback."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"issuer URL {url!r}: give https://host[:port][/path]")
    if parts.username is not None:
        raise ConfigurationError("an issuer's URL holds no user and no password")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(f"issuer URL {url}: keys are not fetched without TLS, use https")
