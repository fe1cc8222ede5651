"""Doorbell: a hint that something may be there. Rings coalesce; a poll stays on behind it (D7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from waybill.messaging.runtime.clock import Clock


class Settable(Protocol):
    """What a ring sets: an asyncio.Event, or something alike. Must not raise or block."""

    def set(self) -> None:
        """It rang."""


class Doorbell:
    """One bell, any number of listeners, each of which hears a ring since its last wait."""

    def __init__(self) -> None:
        self._listeners: list[Settable] = []

    def ring(self) -> None:
        """Wake every listener. Never blocks, so it may be called from `on_commit`.

        Only from the event loop's own thread.
        """
        for event in self._listeners:
            event.set()

    def listen(self) -> Listener:
        """A new listener; it hears rings from now on, also those between its waits."""
        event = asyncio.Event()
        self.attach(event)
        return Listener(self, event)

    def attach(self, event: Settable) -> None:
        """Set this at every ring from now on; for one that waits on several bells."""
        self._listeners.append(event)

    def forget(self, event: Settable) -> None:
        """Called by a closed listener."""
        if event in self._listeners:
            self._listeners.remove(event)


class Listener:
    """Hears the rings of one doorbell. Any number of rings before a wait end that one wait."""

    def __init__(self, doorbell: Doorbell, event: asyncio.Event) -> None:
        self._doorbell = doorbell
        self._event = event

    async def wait(self, clock: Clock, seconds: float) -> bool:
        """Wait for a ring, at most `seconds`; whether it rang. Ask the table either way."""
        rang = await clock.wait(self._event, seconds)
        self._event.clear()
        return rang

    def close(self) -> None:
        """Stop listening. May be repeated."""
        self._doorbell.forget(self._event)
