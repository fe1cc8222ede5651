"""Isolation: finds the messages that a failed unit cannot apply, and applies all the others.

Strictly left to right, each part in a transaction of its own with its own positions (protocol
C4). Nothing becomes a dead letter before it failed in this very state, and before it is known
that the batch does not fail as a whole, which would be a bad deployment (protocol C10).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import (
    DeadLetterLimitExceededError,
    DomainConstraintError,
    PermanentError,
    TransientError,
)
from waybill.messaging.runtime.batch import error_type
from waybill.messaging.runtime.each import HandlerFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.core.ports import DeadLetter, DeadLetters, Subscription
    from waybill.messaging.runtime.batch import SortedBatch, Sorter
    from waybill.messaging.runtime.policy import ConsumerPolicy
    from waybill.messaging.runtime.unit import ConsumerUnit


class SameErrorError(TransientError):
    """So much of a batch fails with one class of error that the deployment is to blame (C10)."""


class LetterGuard:
    """Refuses dead letters that are too many: in one batch, or in the window (protocol C10)."""

    def __init__(self, consumer: str, dead_letters: DeadLetters, policy: ConsumerPolicy) -> None:
        self._consumer = consumer
        self._dead_letters = dead_letters
        self._policy = policy

    def judge(self, kinds: Iterable[str], candidates: int) -> None:
        """`kinds` are the error classes met in a batch of `candidates`. Raises SameErrorError."""
        allowed = self._policy.same_error_share_max * candidates
        for kind, count in Counter(kinds).items():
            if count >= self._policy.same_error_count_min and count > allowed:
                reason = (
                    f"{self._consumer}: {count} of {candidates} messages fail with {kind}: a bad "
                    "deployment? Nothing was dead-lettered; fix it, the consumer keeps trying"
                )
                raise SameErrorError(reason)

    async def allow(self, letters: int) -> None:
        """Room for so many more in the window. Raises DeadLetterLimitExceededError."""
        window = self._policy.dead_letters_window_seconds
        recent = await self._dead_letters.recent(self._consumer, window)
        if recent + letters > self._policy.dead_letters_max:
            reason = (
                f"{self._consumer} stopped: {recent} dead letters within {window:g} s and "
                f"{letters} more would exceed the limit of {self._policy.dead_letters_max}; look "
                "at them, then restart it"
            )
            raise DeadLetterLimitExceededError(reason)


class Isolation:
    """Finishes one batch, whatever is in it."""

    def __init__(
        self,
        unit: ConsumerUnit,
        subscription: Subscription,
        batch: SortedBatch,
        sorter: Sorter,
        guard: LetterGuard,
        *,
        move: bool = True,
    ) -> None:
        self._unit = unit
        self._subscription = subscription
        self._batch = batch
        self._sorter = sorter
        self._guard = guard
        self._condemned = 0
        self.move = move
        """Whether positions are stored with it; always, once some of it is a dead letter."""
        self.searched = False
        """Whether some of it failed, and was decided more than once."""

    async def finish(self) -> None:
        """Commit the batch in as few parts as its poison allows.

        None: one. One poison message: the parts left of it, then it and all behind it. More: a
        survey first, then halves. Raises what is no message's fault; the consumer rewinds then.
        """
        start, stop = 0, len(self._batch.received)
        while (error := await self._fails(start, stop)) is not None:
            if self._condemned:
                await self._survey(start, stop)
                await self._split(start, stop, error)
                return
            start = await self._first_poison(start, stop, error)

    async def _fails(self, start: int, stop: int) -> PermanentError | None:
        """Commit this slice; the error if it cannot be and nobody says whose fault it is."""
        batch = self._batch
        while start < stop:
            letters = self._letters(start, stop)
            if letters:
                self.move = True
                kinds = [letter.error_type for letter in batch.letters.values()]
                self._guard.judge(kinds, batch.candidates)
                await self._guard.allow(len(letters))
            live = batch.live(start, stop)
            positions = batch.batch.part(start, stop).scanned
            received = batch.to_decide(live)
            try:
                await self._unit.commit(
                    self._subscription, received, letters, positions, move=self.move
                )
            except HandlerFailedError:
                raise
            except PermanentError as error:
                if not live:
                    raise TransientError(f"positions cannot be stored: {error}") from error
                self.searched = self.move = True
                if not self._condemn_named(error, start, stop):
                    return error
            else:
                return None
        return None

    def _letters(self, start: int, stop: int) -> Sequence[DeadLetter]:
        letters = self._batch.letters
        return [letters[i] for i in sorted(letters) if start <= i < stop]

    def _condemn_named(self, error: PermanentError, start: int, stop: int) -> bool:
        """The error names its messages: no search. A constraint's word does not count (C6)."""
        if isinstance(error, DomainConstraintError):
            return False
        named = self._batch.index_of(error.message_ids, start, stop)
        for index in named:
            self._condemn(index, error)
        return bool(named)

    def _condemn(self, index: int, error: PermanentError) -> None:
        record = self._batch.batch.records[index]
        self._batch.letters[index] = self._sorter.letter(record, error)
        self._condemned += 1

    async def _first_poison(self, start: int, stop: int, error: PermanentError) -> int:
        """Search a failing slice from the left, committing what is good before the poison.

        Where the rest begins: at the poison, which is condemned; or behind all, if each part
        passed once the parts before it had committed.
        """
        alone: PermanentError | None = error
        while len(live := self._batch.live(start, stop)) > 1:
            middle = self._cut(live, error)
            alone = await self._fails(start, middle)
            if alone is None:
                start = middle
            else:
                stop, error = middle, alone
        if live and not await self._fails_alone(start, live[0], alone):
            return live[0] + 1
        return start

    def _cut(self, live: Sequence[int], error: PermanentError) -> int:
        """Where to part a slice that failed: before the message that the error shows, or behind it.

        What the database says of the row is no verdict; it saves most of the search. A key of
        several messages tells nothing, and the middle it is.
        """
        detail = error.detail if isinstance(error, DomainConstraintError) else ""
        records = self._batch.batch.records
        shown = [place for place, i in enumerate(live) if records[i].message.key in detail]
        return live[max(1, shown[0] if len(shown) == 1 else len(live) // 2)]

    async def _fails_alone(self, start: int, index: int, error: PermanentError | None) -> bool:
        """Condemn the only live message of `[start, index]` if it fails alone.

        `error` is what it failed with when it was alone already. A constraint may be broken by
        a neighbour's row that is about to go: it must refuse the message twice (C6).
        """
        if error is None:
            error = await self._fails(start, index + 1)
        if isinstance(error, DomainConstraintError):
            error = await self._fails(start, index + 1)
        if error is None:
            return False
        self._condemn(index, error)
        return True

    async def _halves(self, start: int, stop: int) -> None:
        """Bisect, left before right, down to single messages."""
        error = await self._fails(start, stop)
        if error is not None:
            await self._split(start, stop, error)

    async def _split(self, start: int, stop: int, error: PermanentError) -> None:
        """Finish a slice that has just failed as a whole."""
        live = self._batch.live(start, stop)
        if len(live) > 1:
            middle = self._cut(live, error)
            await self._halves(start, middle)
            await self._halves(middle, stop)
        elif await self._fails_alone(start, live[0], error):
            await self._halves(start, stop)
        else:
            await self._halves(live[0] + 1, stop)

    async def _survey(self, start: int, stop: int) -> None:
        """Before a second dead letter of one batch: see whether it all fails the same way (C10).

        Decides the rest in transactions that roll back, each message together with the good
        ones of its keys before it, in chunks as wide as went so far. Raises SameErrorError as
        soon as the share is exceeded.
        """
        batch = self._batch
        kinds = [letter.error_type for letter in batch.letters.values()]
        left, step, wide = batch.live(start, stop), 1, 1
        good: list[int] = []
        while left:
            chunk = left[:step]
            error = await self._rehearse(good, chunk)
            if error is None:
                good += chunk
                left = left[step:]
                step *= 2
            elif len(chunk) > 1:
                step, wide = chunk.index(self._cut(chunk, error)), len(chunk)
            else:
                kinds.append(error_type(error))
                self._guard.judge(kinds, batch.candidates)
                left, step = left[1:], wide

    async def _rehearse(self, good: Sequence[int], chunk: Sequence[int]) -> PermanentError | None:
        records = self._batch.batch.records
        keys = {records[i].message.key for i in chunk}
        before = [i for i in good if records[i].message.key in keys]
        received = self._batch.to_decide([*before, *chunk])
        return await self._unit.rehearse(self._subscription, received)
