"""The ports: what the runtime needs of a technology. Each has one contract suite in testing/."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import msgspec

from waybill.messaging.core.message import Record
from waybill.messaging.core.outcome import Delivered, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from waybill.messaging.core.message import Batch, Message, Positions


class Row(Protocol):
    """One row of a result; columns by name or by place."""

    def __getitem__(self, column: str | int, /) -> Any: ...  # noqa: ANN401 - SQL has no types here


class Transaction(Protocol):
    """One open database transaction. Statements use `$1, $2, …`.

    Any error of `execute` or `fetch` dooms the transaction: never catch it inside the unit.
    """

    async def execute(self, statement: str, *arguments: object) -> int:
        """Run one statement; the number of rows it touched."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""

    async def fetch_last(self, statement: str, *arguments: object) -> Sequence[Row]:
        """As `fetch`, but nothing follows it in its flush: COMMIT may go with it (O2)."""

    async def fetch_later(
        self,
        statement: str,
        *arguments: object,
        then: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        """Run it before the next statement, or along with COMMIT; `then` gets its rows.

        So what a unit writes at its end costs no round trip of its own. Its error is raised where
        it is run. `then` is called before the calls of `on_commit`, and must not raise or block.
        """

    async def execute_ahead(
        self, statement: str, *arguments: object, then: Callable[[], None] = lambda: None
    ) -> None:
        """Run it in front of the next statement, which is not run if it fails and raises its error.

        For the first statement of a transaction: so it costs no round trip of its own. Its rows
        are dropped; `then` is called when it has succeeded. Arguments are texts, whole numbers,
        UUIDs, None, and lists of those.
        """

    async def settle(self) -> None:
        """Run now what was sent ahead or put off."""

    def buffer(self, flush: Callable[[Transaction, Sequence[Any]], Awaitable[None]]) -> list[Any]:
        """The list that `flush(transaction, items)` gets as the last act before COMMIT (O2).

        One list for each `flush`, not flushed if empty. A rollback to a savepoint takes out what
        was added since. Raises RuntimeError once the flush has begun.
        """

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call after COMMIT returned, never after a rollback. Must not raise or block.

        A crash between the two loses the call: use it for hints (doorbells, counters) only.
        """

    def on_unknown(self, call: Callable[[], None]) -> None:
        """Call if the answer to COMMIT was lost: it happened, or it did not (or it still will).

        Must not raise or block. As with `on_commit`, a crash loses the call.
        """


class Database(Protocol):
    """Where transactions come from."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A READ COMMITTED transaction: COMMIT on a clean exit, ROLLBACK on any exception.

        Raises TransientError (unreachable, deadlock, …), PermanentError (SQLSTATE 22xxx),
        DomainConstraintError (23xxx naming a constraint); OutcomeUnknownError if the connection
        broke during COMMIT.
        """

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """One statement in a transaction of its own."""

    async def close(self) -> None:
        """Close every connection. May be repeated."""


class Outbox(Protocol):
    """The append-only table of messages, written with the state."""

    def append(self, transaction: Transaction, messages: Iterable[Message]) -> None:
        """Buffer; the flush before COMMIT numbers and inserts them in append order (O2).

        Returning does not mean that anything is stored. After the flush it raises.
        """


class Inbox(Protocol):
    """Processed message ids of each consumer, in the same transaction as the effects."""

    async def claim(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> set[UUID]:
        """The ids that this transaction may apply: new ones without an open or discarded verdict.

        Ids must be distinct; they are sorted inside. Blocks while another transaction holds one.
        """


class Subscription(Protocol):
    """One consumer's reading end of a log. One active member a consumer; others stand by."""

    shares: bool
    """Whether other members read parts of the log, and may take a part of this one's any time."""

    async def fetch(self, limit: int, within_seconds: float | None = None) -> Batch:
        """The next records after the fetch position; waits for some, at most a second or so.

        With `within_seconds` at most so long.

        Does not move the position: only `seek` and the batches it returned do. Raises
        TransientError when no source can be read, LeaseLostError when another member took over
        or a source was restored: drop all that was fetched and call `rewind`. An empty batch is
        normal, and so is one without records whose `scanned` is to be recorded (D2).
        """

    async def lock(self, transaction: Transaction) -> None:
        """First statement of a batch without positions: fence this member. LeaseLostError."""

    async def record(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID] = (),
        *,
        move: bool = True,
    ) -> set[UUID]:
        """First statement of a batch: fence this member, store its positions, claim its messages.

        The ids that this transaction may apply, as Inbox.claim says; one round trip for all. They
        commit with the effects, or roll back with them. Without `move`, which is for a log that
        is not shared, the positions are not stored: they come again with a later batch. Raises
        LeaseLostError.
        """

    async def record_ahead(
        self,
        transaction: Transaction,
        positions: Positions,
        message_ids: Sequence[UUID],
        then: Callable[[], None],
        *,
        move: bool = True,
    ) -> None:
        """As `record`, of messages that should all be new; it goes with the next statement.

        That one raises ClaimRefusedError unless each of them may be applied and this member still
        reads; otherwise `then` is called.
        """

    async def acknowledge(self, positions: Positions) -> None:
        """After COMMIT: tell the source how far it was read (lag, retention). May lag behind."""

    async def rewind(self) -> None:
        """Forget what was fetched and start again at the stored positions (after a rollback).

        After a LeaseLostError it joins again; while another member holds the lease, `fetch`
        returns empty batches.
        """

    async def close(self) -> None:
        """Hand the lease back and close. May be repeated."""


class Log(Protocol):
    """Where topics are read from."""

    async def subscribe(self, consumer: str, topics: Sequence[str]) -> Subscription:
        """Join; waits as a stand-by while another member holds the lease."""


class PartitionPosition(msgspec.Struct, frozen=True):
    """The last offset read of a partition, and of which log: its cluster's and its topic's id."""

    log: str
    offset: int


class PartitionPositions(Protocol):
    """How far a consumer has read each partition of a topic, in its own database (protocol C15).

    Each partition has one owner's token: a member that lost it can store nothing more.
    """

    async def take(
        self, consumer: str, token: UUID, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], PartitionPosition]:
        """Own these from now on; where they stand, if they were ever read.

        Waits for a transaction in which the last owner stores a position. TransientError.
        """

    async def lock(self, transaction: Transaction, consumer: str, token: UUID) -> None:
        """Let no other member take what this token owns until COMMIT."""

    async def record(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
    ) -> set[UUID]:
        """Store these and claim messages, as Subscription.record; one statement.

        Raises LeaseLostError if another token owns one of the partitions.
        """

    async def record_ahead(
        self,
        transaction: Transaction,
        consumer: str,
        token: UUID,
        positions: Mapping[tuple[str, int], PartitionPosition],
        message_ids: Sequence[UUID],
        *,
        then: Callable[[], None],
    ) -> None:
        """As `record`, by Subscription.record_ahead's terms."""

    async def stored(self, consumer: str) -> Mapping[tuple[str, int], PartitionPosition]:
        """Every partition that was ever read. TransientError."""


class Written(msgspec.Struct, frozen=True):
    """What became of a run of records: how many from its start are acknowledged, and the error.

    `error` is None exactly if all are. UnsendableError says that the record behind the acknowledged
    ones can never be written as it is; any other error is an outage. Records behind it may have
    been written or not: read the lane again from there, consumers remove the duplicates.
    """

    acknowledged: int
    error: Exception | None = None


class LogWriter(Protocol):
    """Where a relay writes outbox records: each to its message's topic, under its key."""

    async def identity(self) -> str:
        """Which log this is (protocol L1); stays over its restarts. TransientError."""

    async def write(self, records: Sequence[Record]) -> Written:
        """Write one run of one lane; ends when every record has its report.

        Further runs of the lane may be written meanwhile, and go behind this one; after an error
        they end with it. Order of a key is kept as long as nothing failed (protocol L2).
        What goes to the log first is settled before the first await. A run that is written after
        the error was returned is a new beginning: the caller has chosen it knowing the error.
        """

    async def purge(self) -> None:
        """Drop what is queued, of whatever lane: its runs end with an error (protocol L3)."""

    async def close(self) -> None:
        """Drop what is not sent and close. May be repeated."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a consumer could not apply, with where it came from and why."""

    consumer: str
    record: Record
    error_type: str
    error_message: str
    stacktrace: str = ""
    cause_type: str = ""
    """Type of the error beneath (`__cause__`), if there was one."""


class Observer(Protocol):
    """Where the runtime reports what happened, after commit. Must not raise or block."""

    def published(self, topic: str, count: int) -> None:
        """`count` messages were committed to the outbox."""

    def processed(self, consumer: str, result: str, count: int, seconds: float) -> None:
        """A batch ended; result is processed, duplicate, skipped or failed."""

    def dead_lettered(self, consumer: str, topic: str, error_type: str) -> None:
        """A message became a dead letter."""

    def retried(self, consumer: str, reason: str) -> None:
        """A unit rolled back for a transient reason and will be tried again."""

    def attempted(self, kind: str, outcome: str, seconds: float) -> None:
        """An outside call ended; outcome is the lower-case name of its Outcome."""

    def progressed(self, loop: str) -> None:
        """A loop made a turn: readiness looks at the age of the last one."""


class DeadLetters(Protocol):
    """The table of dead letters of a consuming service."""

    async def add(self, transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
        """Store, and append each one's `<topic>.DLT` record. Repeats of one id update the error."""

    async def redrivable(self, consumer: str, limit: int) -> Sequence[DeadLetter]:
        """Letters that an operator asked to redrive, oldest first."""

    async def redriven(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> None:
        """Verdict REDRIVEN, in the transaction that applied them."""

    async def recent(self, consumer: str, window_seconds: float) -> int:
        """How many keys had one in the window (the rate limit survives restarts, C10).

        A key that is asked about again and fails again (M3) is one, or a few orders that fail
        for good would stop everybody.
        """


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An outside call that is owed. `(kind, key)` is unique and is its idempotency key.

    `ask_first` means that an earlier attempt's outcome is unknown: query before calling.
    `verdict` is an operator's word on a parked one: settle with it, make no call.
    """

    id: UUID
    kind: str
    key: str
    request: bytes
    not_after: datetime | None = None
    attempts: int = 0
    ask_first: bool = False
    cancelled: bool = False
    verdict: Delivered | Refused | None = None
    correlation_id: str = ""
    causation_id: UUID | None = None
    traceparent: str | None = None


class Retry(msgspec.Struct, frozen=True):
    """Try this delivery again after `delay_seconds`. `counts` is False if no call was made."""

    delay_seconds: float
    reason: str
    counts: bool = True
    ask_first: bool = False


class Park(msgspec.Struct, frozen=True):
    """Wait for an operator: the outcome is unknown, or every attempt is used up."""

    reason: str


Settlement = Delivered | Refused


class Deliveries(Protocol):
    """The table of outside calls."""

    async def add(
        self,
        transaction: Transaction,
        deliveries: Sequence[Delivery],
        *,
        lease_token: UUID | None,
        lease_seconds: float,
    ) -> set[UUID]:
        """Insert those whose (kind, key) is new, already leased if a token is given; their ids.

        The set is complete once the transaction's next statement is answered, or its COMMIT.
        """

    async def cancel(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """Mark the unsettled ones: they are refused before their next call. Keys that exist."""

    async def existing(self, transaction: Transaction, kind: str, keys: Sequence[str]) -> set[str]:
        """Which of these keys are taken, in whatever state. Locks nothing."""

    async def find(
        self, kind: str, keys: Sequence[str]
    ) -> Sequence[tuple[Delivery, Settlement | None]]:
        """Those that exist, by key, each with its final outcome if it has one. Locks nothing."""

    async def claim(
        self, kind: str, limit: int, *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[Delivery]:
        """Due ones (or with an expired lease, then `ask_first`), leased to the token."""

    async def marks(self, ids: Sequence[UUID]) -> set[UUID]:
        """Which of these carry a cancel mark now."""

    async def settle(
        self, transaction: Transaction, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> set[UUID]:
        """Record final outcomes; the ids whose outcome this call decided.

        A Delivered outcome is recorded whatever the token (M6), even over a refusal (then its id
        is returned again: money was taken after all); a Refused one only over an unsettled row.
        """

    async def postpone(
        self,
        transaction: Transaction,
        postponed: Sequence[tuple[Delivery, Retry | Park]],
        *,
        lease_token: UUID,
    ) -> None:
        """Schedule again or park; only rows that this token still leases."""


class Schedule(Protocol):
    """Periodic work shared by processes: one row a name, claimed with a lease (protocol C14)."""

    async def register(self, names: Sequence[str]) -> None:
        """Make sure each has a row, due at once if it is new. May be repeated."""

    async def claim(
        self, names: Sequence[str], *, lease_token: UUID, lease_seconds: float
    ) -> Sequence[str]:
        """Those that are due and not leased (or whose lease expired), now leased to the token.

        Commits by itself; skips rows that another transaction holds. Database clock.
        """

    async def finish(self, name: str, *, lease_token: UUID, next_seconds: float) -> bool:
        """Due again in `next_seconds`, lease gone. False if the token had lost its lease."""
