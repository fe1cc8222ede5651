"""An issuer's public keys: fetched, kept, and fetched again when they changed.

An issuer rotates by publishing a key before it signs with it. A key id that is unknown makes us
ask again, though not more often than a floor: else every made-up id would be a request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from waybill.commerce.http.problem import Problem
from waybill.commerce.http.strict_json import decode
from waybill.edge.tokens.compact import key_id_accepted
from waybill.edge.tokens.settings import KEY_TYPES
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from waybill.edge.tokens.settings import Algorithm, TokenSettings

logger = logging.getLogger(__name__)

PublicKey = ECKey | OKPKey | RSAKey
KEYS_MAX: Final = 32
RSA_BITS_MIN: Final = 2_048
_CURVES: Final[dict[str, str]] = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}
_KINDS: Final[dict[str, type[PublicKey]]] = {
    "EC": ECKey,
    "OKP": OKPKey,
    "RSA": RSAKey,
}
_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e")


class IssuerKeys:
    """`fetch` gives the issuer's key set as JSON (RFC 7517); it raises TransientError."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        settings: TokenSettings,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._settings = settings
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._failed = False
        self.generation = 0
        """Counts up whenever the set of keys is another one."""

    async def find(self, key_id: str) -> PublicKey | None:
        """The key of this id; None if the issuer has no such key.

        Raises TransientError when that cannot be known: an issuer that is away allows nothing.
        """
        if self._due(key_id) or (self._lock.locked() and key_id not in self._keys):
            async with self._lock:
                if self._due(key_id):  # whoever held the lock may have done it
                    await self._refresh()
        if not self._usable():
            raise TransientError("the issuer's keys cannot be had: try again")
        key = self._keys.get(key_id)
        if key is None and self._failed:
            raise TransientError("the issuer's newest keys cannot be had: try again")
        return key

    def _due(self, key_id: str) -> bool:
        now, settings = self._monotonic(), self._settings
        if self._asked_at is None:
            return True
        if self._failed:
            return now - self._asked_at >= settings.keys_retry_seconds
        since = now - self._asked_at
        if key_id in self._keys:
            return since >= settings.keys_seconds_max
        return since >= min(settings.keys_refetch_seconds_min, settings.keys_seconds_max)

    def _usable(self) -> bool:
        if self._fetched_at is None:
            return False
        return self._monotonic() - self._fetched_at <= self._settings.keys_stale_seconds_max

    async def _refresh(self) -> None:
        self._asked_at = self._monotonic()
        try:
            keys = read_keys(await self._fetch(), self._settings.algorithm)
        except TransientError as error:
            self._failed = True
            logger.warning("The issuer's keys could not be fetched: %s", error)
            return
        self._failed = False
        self._fetched_at = self._monotonic()
        if {i: k.thumbprint() for i, k in keys.items()} != {
            i: k.thumbprint() for i, k in self._keys.items()
        }:
            self.generation += 1
        self._keys = keys


def read_keys(content: bytes, algorithm: Algorithm) -> dict[str, PublicKey]:
    """The set's keys for this algorithm, by id; others are left out. Raises TransientError."""
    try:
        document = decode(content)
    except Problem as error:
        raise TransientError(f"the issuer's key set is no JSON: {error.detail}") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise TransientError(f"the issuer's key set is none, or has more than {KEYS_MAX} keys")
    keys: dict[str, PublicKey] = {}
    for each in listed:
        if isinstance(each, dict) and _is_for(each, algorithm):
            key = _imported(each, algorithm)
            if key is not None:
                keys.setdefault(each["kid"], key)
    return keys


def _is_for(key: dict[str, Any], algorithm: Algorithm) -> bool:
    return (
        key.get("kty") == KEY_TYPES[algorithm]
        and key_id_accepted(key.get("kid"))
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and key.get("crv") == _CURVES.get(algorithm)
    )


def _imported(key: dict[str, Any], algorithm: Algorithm) -> PublicKey | None:
    """Only what verifies: a set that holds private members does not make us keep them."""
    public: dict[str, Any] = {
        name: key[name] for name in _PUBLIC_MEMBERS if isinstance(key.get(name), str)
    }
    try:
        made = _KINDS[KEY_TYPES[algorithm]].import_key(public)
    except (JoseError, ValueError, KeyError, TypeError):
        logger.warning("A key of the issuer's cannot be read; it is left out")
        return None
    if isinstance(made, RSAKey) and made.public_key.key_size < RSA_BITS_MIN:
        logger.warning("An RSA key of the issuer's is shorter than %d bits", RSA_BITS_MIN)
        return None
    return made
