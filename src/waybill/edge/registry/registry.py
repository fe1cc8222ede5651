"""The registry: who is there, for as long as they say so, and what changed of late.

An instance whose lease ran out is gone at the next look, whoever looks. There is no mode in which
dead instances are kept (Eureka's self-preservation): instead nobody's lease runs while the
registry or its store is away, and who asks keeps what it knew (docs/adr/0036).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from waybill.edge.registry.entries import DELETED, Entry, gone, overridden, registered
from waybill.messaging.core.errors import OverloadedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from waybill.edge.registry.entries import Given
    from waybill.edge.registry.store import RegistryStore

Answer = TypeVar("Answer")

NEWS_SECONDS: Final = 180
"""How long a change is told as one: a client asks every 30 seconds."""
INSTANCES_MAX: Final = 10_000
_TRIES_MAX: Final = 10
_DECODER: Final = msgspec.json.Decoder(Entry)


class Seen(NamedTuple):
    """Who is there, and what changed within `NEWS_SECONDS`, who is gone included."""

    live: list[Entry]
    news: list[Entry]


class Registry:
    """Over a store that other registries may share. Every method may raise TransientError."""

    def __init__(
        self,
        store: RegistryStore,
        *,
        now: Callable[[], datetime],
        instances_max: int = INSTANCES_MAX,
    ) -> None:
        self._store = store
        self._now = now
        self._instances_max = instances_max
        self._counted_from = self._milliseconds()
        self._was_away = False

    async def register(self, given: Given) -> None:
        """It is there, as it says. Raises OverloadedError beyond `instances_max`."""
        now = self._milliseconds()
        key = _key(given.app, given.id)
        if await self._get(key) is None and len(await self._read()) >= self._instances_max:
            raise OverloadedError("the registry is full", retry_after_seconds=30)
        await self._change(key, lambda before: registered(before, given, now))

    async def renew(self, app: str, instance_id: str, *, dirty_at: int = 0) -> bool:
        """Its heartbeat. False: it is not known as it is now, and shall register again."""
        now = self._milliseconds()

        def renewed(before: Entry | None) -> Entry | None:
            if before is None or before.action == DELETED or dirty_at > before.dirty_at:
                return None
            return replace(before, renewed_at=now)

        return await self._change(_key(app, instance_id), renewed)

    async def cancel(self, app: str, instance_id: str) -> bool:
        """It goes. False: it was not there."""
        now = self._milliseconds()

        def cancelled(before: Entry | None) -> Entry | None:
            return None if before is None or before.action == DELETED else gone(before, now)

        return await self._change(_key(app, instance_id), cancelled)

    async def override(self, app: str, instance_id: str, status: str) -> bool:
        """An operator's word on its status; UNKNOWN takes it back. False: it is not there."""
        now = self._milliseconds()

        def told(before: Entry | None) -> Entry | None:
            if before is None or before.action == DELETED:
                return None
            return overridden(before, status, now)

        return await self._change(_key(app, instance_id), told)

    async def look(self) -> Seen:
        """Who is there now. Those whose leases ran out go by this."""
        now = self._milliseconds()
        entries = await self._read()
        live, news = [], []
        for key, raw in sorted(entries.items()):
            entry = _DECODER.decode(raw)
            if entry.action == DELETED and now - entry.changed_at > NEWS_SECONDS * 1000:
                await self._swap(key, raw, None)
                continue
            if entry.action != DELETED and entry.expired(now, counted_from=self._counted_from):
                dead = gone(entry, now)
                if await self._swap(key, raw, msgspec.json.encode(dead)):
                    entry = dead  # else it has just renewed, or another registry was first
            if entry.action != DELETED:
                live.append(entry)
            if now - entry.changed_at <= NEWS_SECONDS * 1000:
                news.append(entry)
        return Seen(live, news)

    async def _change(self, key: str, step: Callable[[Entry | None], Entry | None]) -> bool:
        for _ in range(_TRIES_MAX):
            raw = await self._get(key)
            after = step(_DECODER.decode(raw) if raw is not None else None)
            if after is None:
                return False
            if await self._swap(key, raw, msgspec.json.encode(after)):
                return True
        raise TransientError(f"{key} changes too often")

    async def _read(self) -> Mapping[str, bytes]:
        return await self._asked(self._store.read())

    async def _get(self, key: str) -> bytes | None:
        return await self._asked(self._store.get(key))

    async def _swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        return await self._asked(self._store.swap(key, old, new))

    async def _asked(self, answer: Awaitable[Answer]) -> Answer:
        """What the store answers; leases begin anew after it did not."""
        try:
            found = await answer
        except TransientError:
            self._was_away = True
            raise
        if self._was_away:
            self._counted_from = self._milliseconds()
            self._was_away = False
        return found

    def _milliseconds(self) -> int:
        return int(self._now().timestamp() * 1000)


def _key(app: str, instance_id: str) -> str:
    return f"{app.upper()}/{instance_id}"
