"""Doorbell: tells listeners of this process what a commit appended to an outbox (protocol D7).

A ring is a hint and may be lost; behind it every listener polls. What it carries is never wrong:
each message says what stands before it in its lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.message import Appended


class Hearing(Protocol):
    """A listener. Must not raise or block."""

    def hear(self, appended: Sequence[Appended]) -> None:
        """These were committed, in this order."""


class Doorbell:
    """One bell of one outbox, any number of listeners."""

    def __init__(self) -> None:
        self._listeners: list[Hearing] = []

    def ring(self, appended: Sequence[Appended]) -> None:
        """Tell every listener. Never blocks, so it may be called from `on_commit`.

        Only from the event loop's own thread.
        """
        for listener in self._listeners:
            listener.hear(appended)

    def attach(self, listener: Hearing) -> None:
        """Tell this one at every ring from now on."""
        self._listeners.append(listener)

    def forget(self, listener: Hearing) -> None:
        """No longer. May be repeated."""
        if listener in self._listeners:
            self._listeners.remove(listener)
