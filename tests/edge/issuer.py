"""An issuer of tests: keys that can rotate, good tokens, and any bytes signed as if they were."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey

from waybill.edge.tokens.keys import IssuerKeys
from waybill.edge.tokens.settings import TokenSettings
from waybill.edge.tokens.verifier import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ISSUER = "https://accounts.example"
SUBJECT = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


@dataclass
class Time:
    """A clock that a test moves; `monotonic` moves with it."""

    instant: datetime = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    def forward(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


def b64(content: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def signed(header: bytes, claims: bytes, key: ECKey) -> bytes:
    """These very bytes under a good ES256 signature."""
    signing = b64(header) + b"." + b64(claims)
    return signing + b"." + b64(raw_signature(signing, key))


def raw_signature(signing: bytes, key: ECKey) -> bytes:
    """The numbers r and s, 32 bytes each (RFC 7518 section 3.4)."""
    assert key.private_key is not None
    r, s = decode_dss_signature(key.private_key.sign(signing, ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


@dataclass
class Issuer:
    """It signs with its newest key and publishes all of them."""

    time: Time = field(default_factory=Time)
    keys: list[ECKey] = field(default_factory=lambda: [ECKey.generate_key("P-256", auto_kid=True)])
    fetches: int = 0
    failure: Exception | None = None

    @property
    def key(self) -> ECKey:
        return self.keys[-1]

    def rotate(self) -> None:
        self.keys.append(ECKey.generate_key("P-256", auto_kid=True))

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.failure is not None:
            raise self.failure
        return self.jwks()

    def jwks(self) -> bytes:
        published = [dict(key.as_dict(private=False), use="sig", alg="ES256") for key in self.keys]
        return json.dumps({"keys": published}).encode()

    def header(self, **changes: object) -> dict[str, Any]:
        return _changed({"alg": "ES256", "typ": "at+jwt", "kid": self.key.kid}, changes)

    def claims(self, **changes: object) -> dict[str, Any]:
        issued_at = int(self.time.now().timestamp())
        claims = {
            "iss": ISSUER,
            "sub": SUBJECT,
            "aud": "waybill",
            "iat": issued_at,
            "exp": issued_at + 900,
            "jti": "1",
            "client_id": "waybill",
            "roles": ["customer"],
        }
        return _changed(claims, changes)

    def token(
        self,
        header: Mapping[str, object] | None = None,
        *,
        key: ECKey | None = None,
        **claims: Any,  # noqa: ANN401 - any JSON
    ) -> bytes:
        """A good token but for what is changed; None takes a member away."""
        content = json.dumps(self.claims(**claims)).encode()
        return signed(json.dumps(self.header(**(header or {}))).encode(), content, key or self.key)

    def verifier(self, **settings: Any) -> TokenVerifier:  # noqa: ANN401 - as TokenSettings takes
        chosen = TokenSettings(issuer=ISSUER, **settings)
        keys = IssuerKeys(self.fetch, chosen, monotonic=self.time.monotonic)
        return TokenVerifier(chosen, keys, now=self.time.now)


def _changed(members: dict[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    merged = {**members, **changes}
    return {name: value for name, value in merged.items() if value is not None}
