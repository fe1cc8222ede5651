"""What reading needs of a database: a source to read, and a store for how far it was read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from waybill.messaging.core.lanes import ALL_LANES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.messaging.core.ports import Row, Transaction
    from waybill.messaging.reading.standing import Registration


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One row (consumer, source). `positions` is None until the source was first reached."""

    positions: tuple[int, ...] | None
    last_ids: tuple[UUID | None, ...]
    start: tuple[int, ...] | None
    topics: frozenset[str]
    system_identifier: str | None
    timeline: int | None


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading of a source begins (or begins again), and of which server."""

    positions: tuple[int, ...]
    system_identifier: str
    timeline: int
    horizon: int
    horizon_at: datetime


class Lanes:
    """Positions of one source: last seq read and its row's id, per lane. They only go forward."""

    def __init__(
        self, positions: Sequence[int] | None, last_ids: Sequence[UUID | None] | None
    ) -> None:
        self.positions = list(positions or [0] * ALL_LANES)
        self.last_ids: list[UUID | None] = list(last_ids or [None] * ALL_LANES)

    def copy(self) -> Lanes:
        """Another one at the same place."""
        return Lanes(self.positions, self.last_ids)

    def move(self, lane: int, seq: int, last_id: UUID | None) -> None:
        """A lane was read up to here."""
        if seq > self.positions[lane]:
            self.positions[lane] = seq
            self.last_ids[lane] = last_id


class Source(Protocol):
    """One connection to a producer's database, as its reader role. It is never shared.

    Everything raises TransientError while it is away.
    """

    name: str
    notified: Callable[[], None]
    """Called at every hint from another process (protocol D7)."""

    @property
    def connected(self) -> bool:
        """Whether the connection was open when last looked at."""

    async def connect(self) -> None:
        """Open the connection. Raises ConfigurationError for a replica."""

    async def fetch(
        self, lanes: Sequence[int], positions: Sequence[int], topics: Sequence[str], limit: int
    ) -> Sequence[Row]:
        """Rows above the positions: lanes in the given order, at most `limit` in all.

        Fewer than there are, if their values fill a batch. Each as core.outbox_row has it.
        """

    async def register(
        self,
        consumer: str,
        topics: Sequence[str],
        positions: Sequence[int] | None = None,
        start: Sequence[int] | None = None,
    ) -> Registration:
        """Hold back retention from these positions on; None keeps the ones there are (D3)."""

    async def report(
        self, consumer: str, positions: Sequence[int]
    ) -> tuple[bool, int, datetime] | None:
        """Tell how far it was read. Whether the reader is still registered, and the horizon."""

    async def ends(self) -> list[int]:
        """The last seq of each lane, 0 if it has none."""

    async def is_replaced(
        self, positions: Sequence[int], last_ids: Sequence[UUID | None], horizon: int
    ) -> bool:
        """Whether a row at a position, while retained, is not the one that was read (D6)."""

    async def close(self) -> None:
        """Close the connection. May be repeated."""


class PositionStore(Protocol):
    """A consumer's rows in its own database: who reads, and how far each source was read (D1)."""

    async def acquire(self, token: UUID, lease_seconds: float) -> bool:
        """Take the lease of every source under this token, or of none. Does not wait."""

    async def load(self, token: UUID) -> dict[str, Stored] | None:
        """The rows under this token; None if another member took any of them."""

    async def renew(self, token: UUID, lease_seconds: float) -> bool:
        """Hold on; whether the token still has every source."""

    async def release(self, token: UUID) -> None:
        """Hand the lease back, so that a stand-by need not wait for its end."""

    async def begin(self, source: str, token: UUID, begin: Begin, topics: Sequence[str]) -> None:
        """Start (again) at these positions, and record that. Raises LeaseLostError."""

    async def note(
        self, source: str, token: UUID, topics: Sequence[str], horizon: int, horizon_at: datetime
    ) -> None:
        """Remember the source's horizon: inbox rows stay while they may be read again (D5)."""

    async def lock(self, transaction: Transaction, token: UUID) -> None:
        """Fence every other member until COMMIT. Raises LeaseLostError."""

    async def record(
        self,
        transaction: Transaction,
        token: UUID,
        lanes: Mapping[str, Lanes],
        message_ids: Sequence[UUID],
        *,
        move: bool,
    ) -> set[UUID]:
        """Fence, store where the lanes of these sources are, and claim. Raises LeaseLostError.

        Without `move`: fence these sources and claim.
        """

    async def record_ahead(
        self,
        transaction: Transaction,
        token: UUID,
        lanes: Mapping[str, Lanes],
        message_ids: Sequence[UUID],
        then: Callable[[], None],
        *,
        move: bool,
    ) -> None:
        """The same, by Subscription.record_ahead's terms."""
