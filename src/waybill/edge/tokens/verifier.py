"""Verifies access tokens: form, key, signature, claims, in this order; then remembers.

A verified token is known by its SHA-256 until it expires, or the issuer's keys change.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from joserfc import jws
from joserfc.errors import JoseError

from waybill.edge.tokens.claims import caller_of
from waybill.edge.tokens.compact import read_compact
from waybill.edge.tokens.errors import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from waybill.commerce.http.caller import Caller
    from waybill.edge.tokens.keys import IssuerKeys, PublicKey
    from waybill.edge.tokens.settings import TokenSettings


class TokenVerifier:
    """For one issuer. `signatures` counts what the cache did not answer."""

    def __init__(
        self, settings: TokenSettings, keys: IssuerKeys, *, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._now = now
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._generation = keys.generation
        self._registry = jws.JWSRegistry(algorithms=[settings.algorithm])
        self.signatures = 0

    async def verify(self, token: bytes) -> Caller:
        """Who calls. Raises InvalidTokenError, or TransientError: the keys cannot be had."""
        if len(token) > self._settings.token_bytes_max:
            raise InvalidTokenError("too_large")
        digest = hashlib.sha256(token).digest()
        caller = self._remembered(digest)
        if caller is None:
            caller = await self._verified(token)
            self._remember(digest, caller)
        return caller

    def _remembered(self, digest: bytes) -> Caller | None:
        if self._generation != self._keys.generation:
            self._known.clear()
            self._generation = self._keys.generation
        caller = self._known.get(digest)
        if caller is None:
            return None
        if self._now().timestamp() >= caller.expires_at + self._settings.leeway_seconds:
            del self._known[digest]
            return None
        return caller

    def _remember(self, digest: bytes, caller: Caller) -> None:
        """The oldest makes room: a flood of tokens costs time, not memory."""
        self._remembered(digest)  # a key set that changed meanwhile empties the cache first
        self._known[digest] = caller
        if len(self._known) > self._settings.cache_size_max:
            self._known.popitem(last=False)

    async def _verified(self, token: bytes) -> Caller:
        compact = read_compact(token)
        if compact.algorithm != self._settings.algorithm:
            raise InvalidTokenError("algorithm")
        if compact.token_type != self._settings.token_type:
            raise InvalidTokenError("type")
        key = await self._keys.find(compact.key_id)
        if key is None:
            raise InvalidTokenError("key_unknown")
        self._require_signature(token, key)
        return caller_of(compact.claims, self._settings, self._now().timestamp())

    def _require_signature(self, token: bytes, key: PublicKey) -> None:
        self.signatures += 1
        try:
            jws.deserialize_compact(token, key, registry=self._registry)
        except (JoseError, ValueError):
            raise InvalidTokenError("signature") from None
