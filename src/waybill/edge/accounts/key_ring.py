"""The keys that sign access tokens: shared by all processes through the database, rotated by use.

A key is published before it signs and kept until its last token has expired, so a rotation locks
nobody out. It is due when somebody asks: no loop is needed for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import ECKey

from waybill.edge.accounts import domain, store
from waybill.edge.accounts.domain import KeySchedule, SigningKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.messaging.runtime.ports import ServicePorts

ALGORITHM = "ES256"
_CURVE = "P-256"
LOADED_SECONDS = 30.0
"""Another process' new key is known here after so long, well before it signs."""


class KeyRing:
    """One process' view of the keys."""

    def __init__(self, ports: ServicePorts, schedule: KeySchedule | None = None) -> None:
        self._ports = ports
        self._schedule = schedule or KeySchedule()
        self._keys: list[SigningKey] = []
        self._imported: dict[str, ECKey] = {}
        self._loaded_at: float | None = None

    async def sign(self, claims: Mapping[str, Any], token_type: str) -> str:
        """A token by the key whose turn it is. Raises TransientError."""
        await self._refresh()
        key = self._imported[domain.signing(self._keys, self._ports.clock.now()).kid]
        header = {"alg": ALGORITHM, "typ": token_type, "kid": key.kid}
        return jwt.encode(header, dict(claims), key, algorithms=[ALGORITHM])

    async def published(self) -> bytes:
        """The public keys (RFC 7517): those to come, that which signs, those of living tokens."""
        await self._refresh()
        listed = [
            {**self._imported[key.kid].as_dict(private=False), "use": "sig", "alg": ALGORITHM}
            for key in sorted(self._keys, key=lambda key: key.signs_from)
        ]
        return json.dumps({"keys": listed}).encode()

    async def _refresh(self) -> None:
        now = self._ports.clock.monotonic()
        if self._loaded_at is None or now - self._loaded_at >= LOADED_SECONDS:
            self._take(await store.keys(self._ports.database))
            self._loaded_at = now
        if self._stale(self._keys):
            self._take(await self._rotated())

    def _stale(self, keys: list[SigningKey]) -> bool:
        now, schedule = self._ports.clock.now(), self._schedule
        due = domain.next_signs_from(keys, schedule, now) is not None
        return due or bool(domain.superseded(keys, schedule, now))

    async def _rotated(self) -> list[SigningKey]:
        """Whoever comes second finds that it is done."""
        async with self._ports.database.transaction() as transaction:
            await store.lock_keys(transaction)
            keys = await store.keys(transaction)
            now = self._ports.clock.now()
            signs_from = domain.next_signs_from(keys, self._schedule, now)
            if signs_from is not None:
                made = ECKey.generate_key(_CURVE, auto_kid=True)
                key = SigningKey(
                    kid=made.thumbprint(),
                    private_key=made.as_pem(private=True).decode(),
                    signs_from=signs_from,
                )
                await store.add_key(transaction, key, now)
                keys.append(key)
            dropped = domain.superseded(keys, self._schedule, now)
            if dropped:
                await store.drop_keys(transaction, dropped)
            return [key for key in keys if key not in dropped]

    def _take(self, keys: list[SigningKey]) -> None:
        self._keys = keys
        self._imported = {
            key.kid: self._imported.get(key.kid)
            or ECKey.import_key(key.private_key, {"kid": key.kid})
            for key in keys
        }
