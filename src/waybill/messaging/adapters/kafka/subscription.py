"""One member of a consumer's group: batches, positions in the database, offsets for the group."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.headers import to_record
from waybill.messaging.adapters.kafka.starts import last_read
from waybill.messaging.core.errors import AssignmentLostError, LeaseLostError, TransientError
from waybill.messaging.core.message import Batch, Positions
from waybill.messaging.core.ports import PartitionPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.adapters.kafka.assignment import Assigned, Assignment, Chunk, Place
    from waybill.messaging.adapters.kafka.headers import ReadForeign
    from waybill.messaging.adapters.kafka.poller import Found, Poller
    from waybill.messaging.adapters.kafka.topics import Topics
    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import PartitionPositions, Transaction

EMPTY = Batch((), Positions({}))
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class KafkaSubscription:
    """See core.ports.Subscription. For one task: `fetch` and `rewind` must not overlap.

    Other members of the group read other partitions. When one of ours goes while something of it
    is not committed, the batch raises AssignmentLostError, and `rewind` goes on with the rest.
    """

    shares = True

    def __init__(
        self,
        consumer: str,
        positions: PartitionPositions,
        *,
        topics: Topics,
        token: UUID,
        assignment: Assignment,
        poll_seconds: float,
        read_foreign: ReadForeign | None,
    ) -> None:
        self._consumer = consumer
        self._positions = positions
        self._topics = topics
        self._token = token
        self._assignment = assignment
        self._poll_seconds = poll_seconds
        self._read_foreign = read_foreign
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._starting: set[asyncio.Task[None]] = set()
        self._poller: Poller | None = None
        self._is_closed = False

    def run(self, poller: Callable[[KafkaSubscription], Poller]) -> None:
        """Join the group."""
        self._poller = poller(self)
        self._poller.start()

    def wake(self) -> None:
        """There is something to look at. Called on the poller's thread."""
        self._on_loop(self._some.set)

    def found(self, generation: int, partitions: dict[Place, Found]) -> None:
        """These were given to us. Called on the poller's thread."""
        self._on_loop(lambda: self._start_soon(generation, partitions))

    async def fetch(self, limit: int, within_seconds: float | None = None) -> Batch:
        """See Subscription.fetch."""
        self._raise_if_lost()
        self._some.clear()
        batch = self._take(limit)
        if batch is None:
            seconds = self._poll_seconds if within_seconds is None else within_seconds
            try:
                async with asyncio.timeout(seconds):
                    while batch is None:
                        await self._some.wait()
                        self._some.clear()
                        self._raise_if_lost()
                        batch = self._take(limit)
                        if self._must_settle():
                            break
            except TimeoutError:
                self._raise_if_nothing_can_be_read()
        return batch or EMPTY

    async def lock(self, transaction: Transaction) -> None:
        """See Subscription.lock."""
        self._raise_if_lost()
        await self._positions.lock(transaction, self._consumer, self._token)

    async def record(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID] = (),
        *,
        move: bool = True,
    ) -> set[UUID]:
        """See Subscription.record. Positions are stored always: somebody may start from them."""
        del move
        self._raise_if_lost()
        moved = self._moved(positions)
        try:
            return await self._positions.record(
                transaction, self._consumer, self._token, moved, message_ids
            )
        except LeaseLostError as error:
            # Another member had them between two of our assignments, or has them still.
            if self._poller is not None:
                self._poller.take_again(moved)
            raise AssignmentLostError(str(error)) from error

    async def record_ahead(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID],
        then: Callable[[], None],
        *,
        move: bool = True,
    ) -> None:
        """See Subscription.record_ahead."""
        del move
        self._raise_if_lost()
        await self._positions.record_ahead(
            *(transaction, self._consumer, self._token, self._moved(positions), message_ids),
            then=then,
        )

    def _moved(self, positions: Positions) -> dict[tuple[str, int], PartitionPosition]:
        return {
            place: PartitionPosition(self._log_of(place, offset), offset)
            for place, (offset, _) in positions.lanes.items()
        }

    async def acknowledge(self, positions: Positions) -> None:
        """See Subscription.acknowledge: the thread that polls tells the group (protocol C0)."""
        for place, (offset, _) in positions.lanes.items():
            self._assignment.acknowledge(place, offset)

    async def rewind(self) -> None:
        """See Subscription.rewind."""
        self._raise_if_closed()
        assignment = self._assignment
        with assignment.changed:
            assignment.lost = None
            open_ones = [place for place, each in assignment.partitions.items() if each.is_open]
        if open_ones and self._poller is not None:
            self._poller.rewind(open_ones)

    async def close(self) -> None:
        """See Subscription.close: what is committed is told to the group, which is left at once."""
        if self._is_closed:
            return
        self._is_closed = True
        for task in self._starting:
            task.cancel()
        if self._poller is not None:
            await asyncio.to_thread(self._poller.close)

    def lag(self) -> Mapping[Place, int]:
        """How many records each partition has behind what was handed out, as last fetched."""
        return self._poller.lag() if self._poller is not None else {}

    def _take(self, limit: int) -> Batch | None:
        """What is buffered, in partition order; None if there is nothing."""
        assignment = self._assignment
        records: list[Record] = []
        scanned: dict[Place, tuple[int, UUID | None]] = {}
        with assignment.changed:
            while assignment.chunks and len(records) < limit:
                chunk = assignment.chunks.popleft()
                size = len(chunk.messages)
                used = self._take_from(chunk, limit, records, scanned)
                assignment.buffered -= used
                if used < size:
                    assignment.chunks.appendleft(chunk._replace(messages=chunk.messages[used:]))
        return Batch(tuple(records), Positions(scanned)) if records else None

    def _take_from(
        self,
        chunk: Chunk,
        limit: int,
        records: list[Record],
        scanned: dict[Place, tuple[int, UUID | None]],
    ) -> int:
        """Move messages of a chunk into `records`; how many of it are done with."""
        partitions, read_foreign = self._assignment.partitions, self._read_foreign
        used = 0
        for message in chunk.messages:
            if len(records) >= limit:
                break
            used += 1
            place = (message.topic(), message.partition())
            assigned = partitions.get(place)
            if (
                assigned is None
                or not assigned.is_ready
                or assigned.is_revoked
                or assigned.generation > chunk.generation
            ):
                continue
            offset = message.offset()
            if offset <= assigned.handed:
                continue
            if assigned.rewound_from >= 0 and not self._is_sought(place, assigned, offset):
                continue
            record = to_record(message, read_foreign)
            assigned.handed = offset
            records.append(record)
            scanned[place] = (offset, record.message.id)
        return used

    def _is_sought(self, place: Place, assigned: Assigned, offset: int) -> bool:
        """After a rewind: whether this is of the place sought, and not from before the seek.

        Some offset up to `rewound_from` exists, for it was handed out: it must come first.
        """
        if offset <= assigned.rewound_from or assigned.rewinds_left == 0:
            assigned.rewound_from = -1
            return True
        if self._poller is not None:
            assigned.rewinds_left -= 1
            self._poller.rewind([place])
        return False

    def _log_of(self, place: Place, offset: int) -> str:
        """The log that a position is of. Raises AssignmentLostError if it is not ours to store."""
        assigned = self._assignment.partitions.get(place)
        if assigned is None or not assigned.is_ready or offset > assigned.handed:
            raise AssignmentLostError(
                f"{place[0]} partition {place[1]} was given to another member"
            )
        return assigned.log

    def _must_settle(self) -> bool:
        """Whether a rebalance waits for what was handed out."""
        return any(
            each.is_revoked and each.is_open for each in self._assignment.partitions.values()
        )

    def _raise_if_lost(self) -> None:
        self._raise_if_closed()
        if self._poller is not None and self._poller.failure is not None:
            raise self._poller.failure
        if (lost := self._assignment.lost) is not None:
            raise AssignmentLostError(f"{lost[0]} partition {lost[1]} was given to another member")

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise LeaseLostError(f"this member of {self._consumer} has left its group")

    def _raise_if_nothing_can_be_read(self) -> None:
        """An outage, unless some topic can be read."""
        trouble = self._poller.trouble if self._poller is not None else {}
        if trouble and ("" in trouble or len(trouble) >= self._topics_count()):
            raise TransientError("; ".join(sorted(set(trouble.values()))))

    def _topics_count(self) -> int:
        return len(self._poller.topics) if self._poller is not None else 0

    def _start_soon(self, generation: int, partitions: dict[Place, Found]) -> None:
        if self._is_closed or not partitions:
            return
        task = self._loop.create_task(self._start(generation, partitions))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, generation: int, partitions: dict[Place, Found]) -> None:
        """Ask the database where to begin, for as long as it takes."""
        while True:
            try:
                logs = await self._topics.logs({topic for topic, _ in partitions})
                stored = await self._positions.take(self._consumer, self._token, list(partitions))
            except (TransientError, LeaseLostError) as error:
                logger.warning("%s: no place to start yet: %s", self._consumer, error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        for place, found in partitions.items():
            log, known = logs.get(place[0], ""), stored.get(place)
            last = last_read(self._consumer, place, log, known, found)
            if self._poller is not None:
                was = log if known is None else known.log
                self._poller.begin(place, generation, log, was, last)

    def _on_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            logger.debug("the event loop of %s has ended", self._consumer)
