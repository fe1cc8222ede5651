"""Which lanes a relay owns, by lease, and what it does when they come and go (protocol L3, L4).

Every process that serves an outbox takes an even part of its lanes. A dead one's are free when its
lease ends; one that lives hands on what is too much once nothing of it is under way.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import MessagingError
from waybill.messaging.core.relay import HeldState
from waybill.messaging.runtime.relay_lane import Lane
from waybill.messaging.runtime.relay_release import release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import LogWriter
    from waybill.messaging.core.relay import RelayStore, Share
    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.relay_settings import RelayFigures, RelaySettings

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3


class Ownership:
    """The lanes of one life of a relay, under one token. `changed` is called when to look again."""

    def __init__(
        self,
        name: str,
        *,
        store: RelayStore,
        writer: LogWriter,
        token: UUID,
        member: str,
        clock: Clock,
        settings: RelaySettings,
        figures: RelayFigures,
        changed: Callable[[], None],
    ) -> None:
        self.lanes: dict[int, Lane] = {}
        self.token = token
        self.held_count = 0
        self._name = name
        self._store = store
        self._writer = writer
        self._member = member
        self._clock = clock
        self._settings = settings
        self._figures = figures
        self._changed = changed
        self._lease_end = 0.0
        self._share: Share | None = None
        self._taken: set[int] = set()
        """Lanes that some renewal says begin anew, and nobody has taken note of yet."""
        self._leases = asyncio.Lock()
        self._to_release: dict[int, set[str]] = {}
        self._releasing: dict[int, asyncio.Task[None]] = {}

    @property
    def holds(self) -> bool:
        """Whether the lease still lasts, as far as this process can know."""
        return self._clock.monotonic() < self._lease_end

    async def keep(self) -> None:
        """Renew, whatever the rest of the relay waits for. Runs until it is cancelled."""
        lease_seconds = self._settings.lease_seconds
        while True:
            async with self._leases:
                began = self._clock.monotonic()
                stored = {number: lane.stored for number, lane in self.lanes.items()}
                try:
                    self._share = await self._store.share(self.token, self._member, lease_seconds)
                except MessagingError as error:
                    logger.debug("%s: leases not renewed: %s", self._name, error)
                else:
                    self._taken |= self._share.taken | self._fallen_back(stored, self._share)
                    self._lease_end = began + lease_seconds
                    self._changed()
            await self._clock.sleep(lease_seconds / RENEWALS_A_LEASE)

    def _fallen_back(self, stored: Mapping[int, int], share: Share) -> set[int]:
        """Lanes whose positions died with the server, which had not written them to its disk.

        They begin anew there: of an idle one nobody would ever store the position again.
        """
        positions = share.positions
        fallen = {n for n, position in stored.items() if positions.get(n, position) < position}
        if lost := fallen - share.taken:
            logger.warning("%s: positions of %d lanes were lost", self._name, len(lost))
        return fallen

    async def turn(self) -> None:
        """Take note of what came and went. Raises TransientError; then it is done again."""
        if self.lanes and not self.holds:
            await self.lose(list(self.lanes.values()))
        await self._apply_share()
        self._begin_releases()
        await self._give_back()

    async def lose(self, lanes: Sequence[Lane]) -> None:
        """Another member owns these now, or may: send nothing more of them."""
        lanes = [lane for lane in lanes if not lane.gone]
        if not lanes:
            return
        logger.warning("%s: %d lanes were taken over", self._name, len(lanes))
        self._figures.leases_lost += len(lanes)
        for lane in lanes:
            self._forget(lane)
        if any(lane.runs for lane in lanes):
            await self._writer.purge()

    async def leave(self) -> None:
        """Give everything back at the end of a life."""
        for task in self._releasing.values():
            task.cancel()
        await asyncio.gather(*self._releasing.values(), return_exceptions=True)
        for lane in list(self.lanes.values()):
            self._forget(lane)
        await self._store.leave(self.token)

    def _forget(self, lane: Lane) -> None:
        lane.gone = True
        del self.lanes[lane.number]
        self._to_release.pop(lane.number, None)
        if task := self._releasing.pop(lane.number, None):
            task.cancel()
        self._figures.lanes = len(self.lanes)

    async def _apply_share(self) -> None:
        """Take up lanes that are ours since the last look, and drop those that no longer are."""
        share = self._share
        if share is None:
            return
        taken, self._taken = self._taken, set()
        stays = share.positions.keys() - taken
        await self.lose([lane for n, lane in self.lanes.items() if n not in stays])
        new = sorted(share.positions.keys() - self.lanes.keys())
        # A new owner loads the held keys before it sends anything (protocol L4).
        held_keys = await self._store.held_keys(new) if new else {}
        if self._share is not share:
            return
        self._share = None
        of_lanes = [each for lane in self.lanes.values() for each in lane.held]
        refused = [each for each in of_lanes if each.state is HeldState.HELD]
        self.held_count = share.held + len(refused)
        for number in new:
            self.lanes[number] = Lane(number, share.positions[number], held_keys[number])
        self._figures.lanes = len(self.lanes)
        leaving = sorted(self.lanes, reverse=True)[: share.surplus]
        for number, lane in self.lanes.items():
            lane.leaving = number in leaving
        for number, key in share.free_keys:
            self._to_release.setdefault(number, set()).add(key)
        if new:
            self._changed()

    def _begin_releases(self) -> None:
        """Held records that an operator has spoken about; the lane is quiet while they are sent."""
        for number, keys in self._to_release.items():
            lane = self.lanes[number]
            lane.releasing = True
            if number in self._releasing or not lane.is_quiet or lane.failure is not None:
                continue
            work = release(
                self._store,
                self._writer,
                self.token,
                lane,
                keys,
                page_max=self._settings.page_records_max,
            )
            task = self._releasing[number] = asyncio.create_task(work)
            task.add_done_callback(partial(self._released, lane))

    def _released(self, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.releasing = False
        if lane.gone:
            return
        self._to_release.pop(lane.number, None)
        self._releasing.pop(lane.number, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("%s: held records of lane %d wait: %s", self._name, lane.number, error)
            # What is held now only the database knows: the next renewal takes the lane up anew.
            self._forget(lane)
        self._changed()

    async def _give_back(self) -> None:
        """Hand on what is more than our part, once nothing of it is under way."""
        done = [
            lane
            for lane in self.lanes.values()
            if lane.leaving and lane.is_quiet and not lane.releasing
        ]
        if not done:
            return
        async with self._leases:
            for lane in done:
                self._forget(lane)
            self._share = None  # may be older than this
            await self._store.give_back(self.token, [lane.number for lane in done])
