"""Redrive: dead letters that an operator sends again go through the same unit as any message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.message import Positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import DeadLetter, DeadLetters, Subscription
    from waybill.messaging.core.unit import Received
    from waybill.messaging.runtime.batch import Sorter
    from waybill.messaging.runtime.policy import ConsumerPolicy
    from waybill.messaging.runtime.unit import ConsumerUnit

NOWHERE = Positions({})


class Redrive:
    """Applies the redrivable letters of one consumer.

    Inbox row, effects and the verdict REDRIVEN commit together. One that fails for good again
    is open again, with its new error; that was its one try.
    """

    def __init__(
        self,
        consumer: str,
        dead_letters: DeadLetters,
        unit: ConsumerUnit,
        sorter: Sorter,
        policy: ConsumerPolicy,
    ) -> None:
        self._consumer = consumer
        self._dead_letters = dead_letters
        self._unit = unit
        self._sorter = sorter
        self._policy = policy

    async def run(self, subscription: Subscription) -> int:
        """One page of letters; how many there were. Raises what is no message's fault."""
        size = self._policy.redrive_size_max
        letters = await self._dead_letters.redrivable(self._consumer, size)
        decodable = []
        for letter in letters:
            received = await self._decoded(subscription, letter)
            if received is not None:
                decodable.append((letter, received))
        if decodable:
            await self._apply(subscription, decodable)
        return len(letters)

    async def _decoded(self, subscription: Subscription, letter: DeadLetter) -> Received | None:
        try:
            received = self._sorter.decode(letter.record)
        except PermanentError as error:
            await self._open_again(subscription, letter, error)
            return None
        if received is None:
            reason = f"{self._consumer} does not subscribe to {letter.record.message.type}"
            await self._open_again(subscription, letter, PermanentError(reason))
        return received

    async def _apply(
        self, subscription: Subscription, pairs: Sequence[tuple[DeadLetter, Received]]
    ) -> None:
        """All at once; each alone if that fails for good."""
        received = [each for _, each in pairs]
        ids = [each.message.id for each in received]
        try:
            await self._unit.commit(subscription, received, (), NOWHERE, redriven=ids)
        except PermanentError as error:
            if len(pairs) == 1:
                await self._open_again(subscription, pairs[0][0], error)
                return
            for pair in pairs:
                await self._apply(subscription, [pair])

    async def _open_again(
        self, subscription: Subscription, letter: DeadLetter, error: PermanentError
    ) -> None:
        again = self._sorter.letter(letter.record, error)
        await self._unit.commit(subscription, (), [again], NOWHERE)
