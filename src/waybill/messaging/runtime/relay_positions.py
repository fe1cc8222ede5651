"""Stores how far the lanes of a relay are: twenty times a second at most (protocol L3)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import MessagingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.messaging.core.relay import RelayStore
    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.relay_ownership import Ownership
    from waybill.messaging.runtime.relay_settings import RelayFigures, RelaySettings

logger = logging.getLogger(__name__)


class PositionKeeper:
    """Writes positions over acknowledged records, and what is held on the way, together."""

    def __init__(
        self,
        name: str,
        *,
        store: RelayStore,
        owned: Ownership,
        clock: Clock,
        random: Callable[[], float],
        settings: RelaySettings,
        figures: RelayFigures,
        changed: Callable[[], None],
    ) -> None:
        self._name = name
        self._store = store
        self._owned = owned
        self._clock = clock
        self._random = random
        self._settings = settings
        self._figures = figures
        self._changed = changed
        self._dirty = asyncio.Event()

    def soon(self) -> None:
        """A lane has moved."""
        self._dirty.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        failures = 0
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.store()
            except MessagingError as error:
                if not failures:
                    logger.warning("%s: positions are not stored: %s", self._name, error)
                self._dirty.set()
                await self._clock.sleep(self._settings.retry.delay_seconds(failures, self._random))
                failures += 1
            else:
                failures = 0
            await self._clock.sleep(1 / self._settings.position_writes_per_second_max)

    async def store(self) -> None:
        """One write for all lanes. A lane that does not move is another's now."""
        lanes = {n: lane for n, lane in self._owned.lanes.items() if lane.acked > lane.stored}
        if not lanes:
            return
        positions = {number: lanes[number].acked for number in sorted(lanes)}
        held = [each for n, lane in lanes.items() for each in lane.take_held(positions[n])]
        if crash_points.hook is not None:
            await crash_points.hook("relay.before_position", self._name)
        moved = await self._store.advance(self._owned.token, positions, held)
        if crash_points.hook is not None:
            await crash_points.hook("relay.after_position", self._name)
        self._figures.position_writes += 1
        for number in moved:
            lanes[number].moved(positions[number])
        await self._owned.lose([lane for n, lane in lanes.items() if n not in moved])
        if any(lane.leaving or lane.releasing for lane in lanes.values()):
            self._changed()
