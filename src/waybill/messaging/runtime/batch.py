"""A fetched batch, sorted: what to decide, what to skip, what can never be decoded."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import PermanentError, UndecodableMessageError
from waybill.messaging.core.message import UNREADABLE_HEADER, UNREADABLE_TYPE, storable
from waybill.messaging.core.ports import DeadLetter
from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.message import Batch, Record
    from waybill.messaging.runtime.policy import ConsumerPolicy


class Sorter:
    """Decodes batches for one consumer, before any transaction is open (protocol C7)."""

    def __init__(
        self,
        consumer: str,
        codec: Codec,
        types: Iterable[type],
        policy: ConsumerPolicy,
        *,
        patient: Iterable[type] = (),
    ) -> None:
        self._consumer = consumer
        self._codec = codec
        self._types = frozenset(types)
        self._names = codec.names(self._types) | {UNREADABLE_TYPE}
        self._patient = self._names & codec.names(frozenset(patient))
        self._urgent = self._names - self._patient
        self._policy = policy

    def has_patient(self, batch: Batch) -> bool:
        """Whether there is one that may wait. What is skipped waits for nothing."""
        patient = self._patient
        return bool(patient) and any(each.message.type in patient for each in batch.records)

    def may_wait(self, batch: Batch) -> bool:
        """Whether nobody waits for any of these."""
        return all(record.message.type not in self._urgent for record in batch.records)

    def sort(self, batch: Batch) -> SortedBatch:
        """Skip types that nobody subscribed to (C9) and repeated ids (C1), decode the others."""
        decided = SortedBatch(batch)
        received, names = decided.received, self._names
        seen: set[UUID] = set()
        for index, record in enumerate(batch.records):
            message = record.message
            if message.type not in names:
                decided.skipped += 1
                received.append(None)
            elif message.id in seen:
                decided.repeated += 1
                received.append(None)
            else:
                seen.add(message.id)
                received.append(self._decoded(decided, index, record))
        return decided

    def decode(self, record: Record) -> Received | None:
        """The record's event; None if nobody here subscribed to its type.

        Raises UndecodableMessageError, also for an upcast that fails in any other way.
        """
        message = record.message
        if message.type not in self._names:
            return None
        if message.type == UNREADABLE_TYPE:
            reason = message.headers.get(UNREADABLE_HEADER, b"").decode(errors="replace")
            raise UndecodableMessageError(reason, message_ids=[message.id])
        try:
            event = self._codec.decode(message)
        except PermanentError:
            raise
        except Exception as error:
            # The user's codec and upcasts run here: whatever they raise, the bytes are to blame.
            reason = f"{message.type} {message.id}: {type(error).__name__}: {error}"
            raise UndecodableMessageError(reason, message_ids=[message.id]) from error
        return Received(message, event) if type(event) in self._types else None

    def _decoded(self, decided: SortedBatch, index: int, record: Record) -> Received | None:
        try:
            received = self.decode(record)
        except PermanentError as error:
            decided.letters[index] = self.letter(record, error)
            return None
        decided.skipped += received is None
        return received

    def letter(self, record: Record, error: BaseException) -> DeadLetter:
        """The dead letter of a record; its texts are clipped and fit for a database."""
        cause = cause_of(error)
        stack = "".join(traceback.format_exception(cause))
        return DeadLetter(
            consumer=self._consumer,
            record=record,
            error_type=error_type(error),
            error_message=storable(str(cause))[: self._policy.error_text_max],
            stacktrace=storable(stack)[-self._policy.stacktrace_text_max :],
            cause_type=class_name(cause.__cause__) if cause.__cause__ else "",
        )


class SortedBatch:
    """One batch with its verdicts so far. `received[i]` belongs to `batch.records[i]`."""

    __slots__ = ("batch", "letters", "received", "repeated", "skipped")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.received: list[Received | None] = []
        self.letters: dict[int, DeadLetter] = {}
        self.skipped = 0
        self.repeated = 0

    @property
    def candidates(self) -> int:
        """How many messages are the consumer's business: decided, poison or undecodable."""
        return len(self.received) - self.skipped - self.repeated

    def live(self, start: int, stop: int) -> list[int]:
        """Indexes of the messages in the slice that are still to be decided."""
        received, letters = self.received, self.letters
        return [i for i in range(start, stop) if received[i] is not None and i not in letters]

    def to_decide(self, indexes: Sequence[int]) -> list[Received]:
        """The messages at these indexes."""
        return [found for i in indexes if (found := self.received[i]) is not None]

    def index_of(self, message_ids: Iterable[UUID], start: int, stop: int) -> list[int]:
        """The indexes, inside the slice, of the live messages among these ids."""
        wanted = set(message_ids)
        return [i for i in self.live(start, stop) if self.batch.records[i].message.id in wanted]


def cause_of(error: BaseException) -> BaseException:
    """What really happened, where the runtime or `each` only wrapped it."""
    wrapped = isinstance(error, PermanentError) and error.__cause__ is not None
    return error.__cause__ or error if wrapped else error


def error_type(error: BaseException) -> str:
    """The class by which errors are counted and shown, with its module."""
    return class_name(cause_of(error))


def class_name(error: BaseException) -> str:
    """The full name of the error's class."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
