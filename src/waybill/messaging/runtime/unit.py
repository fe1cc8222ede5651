"""One unit of a consumer: effects, inbox, dead letters and positions in one transaction (C3)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from waybill.messaging.core import crash_points
from waybill.messaging.core.dead_letter_row import reduced
from waybill.messaging.core.errors import (
    ClaimRefusedError,
    ConcurrencyConflictError,
    ConfigurationError,
    DeadLetterRefusedError,
    MessagingError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.message import Positions
from waybill.messaging.core.unit import Received, UnitOfWork
from waybill.messaging.runtime.tracing import log_fields

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.ports import DeadLetter, Subscription, Transaction
    from waybill.messaging.runtime.policy import ConsumerPolicy
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.tracing import BatchSpans, ConsumerTracing

Handler = Callable[[UnitOfWork, Sequence[Received]], Awaitable[None]]
"""Decides a batch, set-wise: it loads, folds and saves through the unit, and raises to refuse.

It may get messages that were applied before: that is found with its first statement, all of it
rolls back, and it is run again for the others.
"""

logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """What one unit does: messages to apply, letters to keep, positions to store."""

    received: Sequence[Received]
    letters: Sequence[DeadLetter]
    positions: Positions
    redriven: Sequence[UUID]
    move: bool
    """Whether the positions are stored now; else with a later unit."""


class _RehearsedError(Exception):
    """Ends a rehearsal, so that its transaction rolls back."""


class ConsumerUnit:
    """Runs units for one subscription. A unit commits as a whole or leaves nothing."""

    def __init__(
        self,
        consumer: str,
        ports: ServicePorts,
        handler: Handler,
        policy: ConsumerPolicy,
        tracing: ConsumerTracing,
    ) -> None:
        self._consumer = consumer
        self._ports = ports
        self._handler = handler
        self._policy = policy
        self._tracing = tracing
        self._trusts = True
        """Whether the next messages are taken for new ones: the last ones were."""

    async def commit(
        self,
        subscription: Subscription,
        received: Sequence[Received],
        letters: Sequence[DeadLetter],
        positions: Positions,
        *,
        redriven: Sequence[UUID] = (),
        move: bool = True,
    ) -> None:
        """Apply, store, commit, acknowledge, report; again after a concurrency conflict.

        Without `move` the positions fence only, and come again with a later unit: a crash reads
        these messages again, and the inbox passes over them.
        A letter that the database cannot hold is kept with less of it: else it would come again
        for ever, and nobody would be told (protocol C5).
        Raises PermanentError (isolate it) and everything that is no message's fault.
        """
        part = _Part(received, letters, positions, redriven, move)
        try:
            await self._commit_again(subscription, part)
        except DeadLetterRefusedError:
            smaller = [await self._storable(letter) for letter in letters]
            try:
                await self._commit_again(subscription, part._replace(letters=smaller))
            except DeadLetterRefusedError as error:
                raise TransientError(f"dead letters cannot be stored: {error}") from error

    async def _commit_again(self, subscription: Subscription, part: _Part) -> None:
        """Commit; again after a concurrency conflict."""
        for _ in range(self._policy.batch_tries_after_conflict_max):
            try:
                await self._commit(subscription, part)
            except ConcurrencyConflictError as error:
                conflict = error
            else:
                return
        reason = f"{self._consumer}: the state kept changing under the decision: {conflict}"
        raise TransientError(reason) from conflict

    async def _commit(self, subscription: Subscription, part: _Part) -> None:
        start = self._ports.clock.monotonic()
        fresh: int | None = None
        if self._trusts and part.received and part.positions:
            fresh = await self._on_trust(subscription, part)
        if fresh is None:
            fresh = await self._apply(subscription, part)
        self._trusts = fresh == len(part.received)
        self._report(part, fresh, self._ports.clock.monotonic() - start)
        if part.positions and part.move:
            await self._acknowledge(subscription, part.positions)

    async def _on_trust(self, subscription: Subscription, part: _Part) -> int | None:
        """Apply them all as new ones, which saves a round trip; None if they have to be claimed.

        An error before the claim was granted may be that of a message that was applied before.
        """
        self._trusts, granted = False, False

        def grant() -> None:
            nonlocal granted
            granted = True

        try:
            return await self._apply(subscription, part, grant)
        except ClaimRefusedError:
            return None
        except PermanentError:
            if not granted:
                return None
            self._trusts = True  # all were new: so is each part of them
            raise

    async def _apply(
        self,
        subscription: Subscription,
        part: _Part,
        granted: Callable[[], None] | None = None,
    ) -> int:
        """One transaction; how many messages it applied."""
        ports = self._ports
        fresh: Sequence[Received] = ()
        spans: BatchSpans | None = None
        async with ports.database.transaction() as transaction:
            fresh = await self._begin(transaction, subscription, part, granted)
            if fresh:
                spans = self._tracing.start(fresh)
                await self._decide(transaction, spans.received if spans else fresh)
            if part.letters:
                await self._keep(transaction, part.letters)
            if part.redriven:
                await ports.dead_letters.redriven(transaction, self._consumer, part.redriven)
            if crash_points.hook is not None:
                await crash_points.hook(_ends(part)[0], self._consumer)
        if crash_points.hook is not None:
            await crash_points.hook(_ends(part)[1], self._consumer)
        if spans:
            spans.end()
        return len(fresh)

    async def rehearse(
        self, subscription: Subscription, received: Sequence[Received]
    ) -> PermanentError | None:
        """Decide these and roll back: the permanent error that it met, or None.

        Raises what is no message's fault; a concurrency conflict is tried again with the batch.
        """
        try:
            async with self._ports.database.transaction() as transaction:
                part = _Part(received, (), Positions({}), (), move=False)
                fresh = await self._begin(transaction, subscription, part)
                if fresh:
                    await self._decide(transaction, fresh)
                _roll_back()
        except _RehearsedError:
            return None
        except PermanentError as error:
            return error
        except ConcurrencyConflictError as error:
            raise TransientError(str(error)) from error
        return None

    async def _storable(self, letter: DeadLetter) -> DeadLetter:
        """The letter, if the database can hold it; else as much of it as it does hold."""
        refusal = await self._refusal(letter)
        if refusal is None:
            return letter
        smaller = reduced(letter, refusal)
        if (refusal := await self._refusal(smaller)) is None:
            return smaller
        return reduced(letter, refusal, has_value=False)

    async def _refusal(self, letter: DeadLetter) -> str | None:
        """Why the database cannot hold the letter, tried and rolled back; None if it can."""
        try:
            async with self._ports.database.transaction() as transaction:
                await self._keep(transaction, [letter])
                _roll_back()
        except DeadLetterRefusedError as error:
            return str(error)
        except _RehearsedError:
            pass
        return None

    async def _keep(self, transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
        try:
            await self._ports.dead_letters.add(transaction, letters)
        except (PermanentError, ValueError, ArithmeticError) as error:
            raise DeadLetterRefusedError(str(error)) from error

    async def _begin(
        self,
        transaction: Transaction,
        subscription: Subscription,
        part: _Part,
        granted: Callable[[], None] | None = None,
    ) -> Sequence[Received]:
        """The unit's first statements: what of these messages it may apply.

        With `granted`: all of them, or the next statement fails.
        """
        received, positions, move = part.received, part.positions, part.move
        ids = [each.message.id for each in received]
        if crash_points.hook is not None:
            await crash_points.hook("consumer.before_claim", self._consumer)
        claimed = set(ids)
        if granted:
            await subscription.record_ahead(transaction, positions, ids, granted, move=move)
        elif positions:
            claimed = await subscription.record(transaction, positions, ids, move=move)
        else:
            await subscription.lock(transaction)
            claimed = await self._ports.inbox.claim(transaction, self._consumer, ids)
        if crash_points.hook is not None:
            await crash_points.hook("consumer.after_claim", self._consumer)
        if len(claimed) == len(received):
            return received
        return [each for each in received if each.message.id in claimed]

    async def _decide(self, transaction: Transaction, received: Sequence[Received]) -> None:
        """Run the handler; what it raises on its own is permanent, a pure decision's error (C6)."""
        try:
            await self._handler(self._ports.unit(transaction), received)
        except ConfigurationError as error:
            raise PermanentError(str(error)) from error
        except MessagingError:
            raise
        except Exception as error:
            # The handler is the user's: whatever it raises is a verdict on its messages.
            reason = f"the handler raised {type(error).__name__}: {error}"
            raise PermanentError(reason) from error

    def _report(self, part: _Part, fresh: int, seconds: float) -> None:
        observer, consumer = self._ports.observer, self._consumer
        received, letters = len(part.received), part.letters
        if fresh:
            observer.processed(consumer, "processed", fresh, seconds)
        if received > fresh:
            observer.processed(consumer, "duplicate", received - fresh, seconds)
        if not letters:
            return
        observer.processed(consumer, "failed", len(letters), seconds)
        for letter in letters:
            message = letter.record.message
            observer.dead_lettered(consumer, message.topic, letter.error_type)
            logger.error(
                "dead letter: consumer=%s topic=%s type=%s message_id=%s error=%s",
                *(consumer, message.topic, message.type, message.id, letter.error_type),
                extra=log_fields(message),
            )
        self._tracing.failed((each.record.message, each.error_type) for each in letters)

    async def _acknowledge(self, subscription: Subscription, positions: Positions) -> None:
        """The effects are committed: a source that cannot be told now is told later."""
        try:
            if crash_points.hook is not None:
                await crash_points.hook("consumer.before_acknowledge", self._consumer)
            await subscription.acknowledge(positions)
            if crash_points.hook is not None:
                await crash_points.hook("consumer.after_acknowledge", self._consumer)
        except TransientError as error:
            logger.warning("%s: the source was not told its position: %s", self._consumer, error)


def _ends(part: _Part) -> tuple[str, str]:
    """The crash points before and after the commit of such a unit."""
    if part.redriven:
        return "redrive.before_commit", "redrive.after_commit"
    if part.received or part.letters:
        return "consumer.before_commit", "consumer.after_commit"
    return "positions.before_commit", "positions.after_commit"


def _roll_back() -> None:
    raise _RehearsedError
