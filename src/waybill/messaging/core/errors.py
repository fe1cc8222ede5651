"""The errors of messaging. The type says what the runtime does with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


class MessagingError(Exception):
    """Anything that messaging raises on purpose."""


class ConfigurationError(MessagingError):
    """The set-up cannot work: raised at start, never while messages flow."""


class TransientError(MessagingError):
    """The world is down (database, broker, breaker): the unit rolls back and is tried again.

    An outage costs time, never attempts.
    """


class PermanentError(MessagingError):
    """These messages can never be applied: they go to the dead letters.

    `message_ids` names the poison; empty means "somewhere in this unit", and the consumer
    bisects the batch to find it.
    """

    def __init__(self, reason: str, *, message_ids: Sequence[UUID] = ()) -> None:
        super().__init__(reason)
        self.message_ids = tuple(message_ids)


class UndecodableMessageError(PermanentError):
    """The bytes are not a message of the type that the record claims."""


class DeadLetterRefusedError(PermanentError):
    """The database cannot hold a dead letter as it is: no message of the batch is at fault."""


class DomainConstraintError(PermanentError):
    """A constraint of the user's own tables refused the unit (SQLSTATE 23xxx that names one).

    A neighbour's row may be the cause, so it counts as permanent only when the message fails
    alone twice (protocol C6). `detail` is what the database says of the row: a hint where to look.
    """

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class UnsendableError(PermanentError):
    """The log takes this record never, as it is: too large, or not a valid record (protocol L4)."""


class ConcurrencyConflictError(MessagingError):
    """The state moved on between load and save: reload and decide again, a few times."""


class ClaimRefusedError(MessagingError):
    """Not every message was new, or another member reads now: begin again, and ask which."""


class LeaseLostError(MessagingError):
    """Another process owns the work now: drop the result."""


class AssignmentLostError(LeaseLostError):
    """Some of the work moved to another member, and this one goes on with the rest.

    Drop what was fetched, rewind, and fetch again; nothing is wrong.
    """


class DeadLetterLimitExceededError(MessagingError):
    """Too many dead letters in the window: the consumer stops and waits for an operator."""


class OverloadedError(MessagingError):
    """A bounded queue is full or an entry waited too long: nothing was done, try again later."""

    def __init__(self, reason: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknownError(MessagingError):
    """The commit may or may not have happened: repeat the request with the same idempotency key."""
