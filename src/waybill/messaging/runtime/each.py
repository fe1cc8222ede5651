"""Handlers that take one message at a time, for library users whose handlers are impure.

`each` makes a set-wise handler of them. An exception names its message, so nothing is bisected
and no neighbour is decided twice in vain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import (
    ConfigurationError,
    DomainConstraintError,
    MessagingError,
    PermanentError,
)
from waybill.messaging.core.message import Positions
from waybill.messaging.core.unit import Received, UnitOfWork
from waybill.messaging.runtime.batch import error_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import DeadLetter, Subscription
    from waybill.messaging.runtime.batch import SortedBatch, Sorter
    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.isolation import LetterGuard
    from waybill.messaging.runtime.unit import ConsumerUnit, Handler

NOWHERE = Positions({})
"""No position is stored before the whole batch is done."""

MessageHandler = Callable[[UnitOfWork, Received], Awaitable[None]]


class HandlerFailedError(PermanentError):
    """An impure handler failed on one message, and may succeed when it is tried again."""

    def __init__(
        self, reason: str, message_id: UUID, *, tries_max: int, pause_seconds: float
    ) -> None:
        super().__init__(reason, message_ids=[message_id])
        self.tries_max = tries_max
        self.pause_seconds = pause_seconds


def each(
    handlers: Mapping[type, MessageHandler], *, tries_max: int = 4, pause_seconds: float = 1.0
) -> Handler:
    """A set-wise handler that calls, in order, the handler of each event's type.

    A handler that raises is tried `tries_max` times in all, `pause_seconds` apart (protocol C7:
    1 + 3); then its message is a dead letter. Each try is a new transaction, in which what the
    handlers wrote before is gone: calls to the outside belong into deliveries. Meanwhile the
    other messages of the batch are applied and committed; only those of its key wait, and the
    next batch waits for them. `tries_max=1` is for handlers that are pure.
    """
    if tries_max < 1 or pause_seconds < 0:
        reason = "each: tries_max is at least 1 and pause_seconds at least 0"
        raise ConfigurationError(reason)

    async def handle(unit: UnitOfWork, received: Sequence[Received]) -> None:
        # What is impure must not run for a message that was applied before.
        await unit.transaction.settle()
        for one in received:
            try:
                await handlers[type(one.event)](unit, one)
            except Exception as error:
                # The handler is the user's: its exception is a verdict on this message.
                verdict = _verdict(one, error, tries_max, pause_seconds)
                if verdict is error:
                    raise
                raise verdict from error

    return handle


def _verdict(one: Received, error: Exception, tries_max: int, pause_seconds: float) -> Exception:
    """What the consumer is told instead of the handler's exception."""
    message_id = one.message.id
    reason = f"{type(one.event).__name__} {message_id}: {error}"
    constraint = isinstance(error, DomainConstraintError)
    if isinstance(error, ConfigurationError | PermanentError) and not constraint:
        return PermanentError(str(error), message_ids=[message_id])
    if isinstance(error, MessagingError) and not (constraint and tries_max > 1):
        return error
    if tries_max == 1:
        return PermanentError(reason, message_ids=[message_id])
    return HandlerFailedError(reason, message_id, tries_max=tries_max, pause_seconds=pause_seconds)


class PatientBatch:
    """Finishes a batch in which impure handlers failed: their keys wait, the others do not.

    The positions are stored last, so that a crash on the way re-reads the batch; the inbox and
    the open dead letters remove what was done already.
    """

    def __init__(
        self,
        unit: ConsumerUnit,
        subscription: Subscription,
        batch: SortedBatch,
        sorter: Sorter,
        *,
        guard: LetterGuard,
        clock: Clock,
    ) -> None:
        self._unit = unit
        self._subscription = subscription
        self._batch = batch
        self._sorter = sorter
        self._guard = guard
        self._clock = clock
        self._tries: dict[int, int] = {}
        self._failing: dict[int, str] = {}
        """The error class of every message that has failed and not been applied since."""
        self._waiting: dict[str, list[int]] = {}
        self._pause_seconds = 0.0

    async def finish(self, error: HandlerFailedError) -> None:
        """Commit all of it. Raises what is no message's fault; the consumer rewinds then."""
        self._hold(error)
        await self._others()
        while self._waiting:
            await self._clock.sleep(self._pause_seconds)
            for key in list(self._waiting):
                await self._go_on(key)
        await self._unit.commit(self._subscription, (), (), self._batch.batch.scanned)

    def _hold(self, error: HandlerFailedError) -> None:
        """From now on the failed message's key waits; this was its first try."""
        live = self._batch.live(0, len(self._batch.received))
        records = self._batch.batch.records
        failed = self._batch.index_of(error.message_ids, 0, len(records))[0]
        key = records[failed].message.key
        self._tries[failed] = 1
        self._failing[failed] = error_type(error)
        self._waiting[key] = [i for i in live if records[i].message.key == key]
        self._pause_seconds = error.pause_seconds

    async def _others(self) -> None:
        """Apply every message whose key does not wait, all at once if that works."""
        while True:
            waiting = {i for indexes in self._waiting.values() for i in indexes}
            live = self._batch.live(0, len(self._batch.received))
            others = [i for i in live if i not in waiting]
            try:
                await self._commit(others, list(self._batch.letters.values()))
            except HandlerFailedError as error:
                self._hold(error)
            except PermanentError as error:
                named = self._batch.index_of(error.message_ids, 0, len(self._batch.received))
                if not named:
                    await self._known_letters()
                    await self._one_by_one(others)
                    return
                for index in named:
                    await self._condemn(index, error)
            else:
                return

    async def _known_letters(self) -> None:
        """What can never be decoded: no message of the search brings it along."""
        if self._batch.letters:
            await self._commit((), list(self._batch.letters.values()))

    async def _one_by_one(self, indexes: Sequence[int]) -> None:
        """Something failed and names nobody (the flush, a constraint): each alone, in order."""
        for index in indexes:
            if self._batch.batch.records[index].message.key in self._waiting:
                continue
            try:
                await self._alone(index)
            except HandlerFailedError as error:
                self._hold(error)
            except PermanentError as error:
                await self._condemn(index, error)

    async def _alone(self, index: int) -> None:
        """Apply one message. A constraint that shows at the COMMIT must refuse it twice (C6)."""
        try:
            await self._commit([index], ())
        except DomainConstraintError:
            await self._commit([index], ())

    async def _go_on(self, key: str) -> None:
        """Another try of the key's first message; if that ends it, the ones behind it follow."""
        indexes = self._waiting[key]
        while indexes:
            index = indexes[0]
            try:
                await self._alone(index)
                self._failing.pop(index, None)
            except HandlerFailedError as error:
                self._tries[index] = self._tries.get(index, 0) + 1
                self._failing[index] = error_type(error)
                if self._tries[index] < error.tries_max:
                    return
                await self._condemn(index, error)
            except PermanentError as error:
                await self._condemn(index, error)
            indexes.pop(0)
        del self._waiting[key]

    async def _condemn(self, index: int, error: PermanentError) -> None:
        batch = self._batch
        letter = self._sorter.letter(batch.batch.records[index], error)
        batch.letters[index] = letter
        self._failing.pop(index, None)
        await self._commit((), [letter])

    async def _commit(self, indexes: Sequence[int], letters: Sequence[DeadLetter]) -> None:
        if letters:
            batch = self._batch
            dead = [letter.error_type for letter in batch.letters.values()]
            self._guard.judge([*dead, *self._failing.values()], batch.candidates)
            await self._guard.allow(len(letters))
        received = self._batch.to_decide(indexes)
        await self._unit.commit(self._subscription, received, letters, NOWHERE)
