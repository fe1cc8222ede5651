"""What a relay and its store tell each other: shares of the lanes, positions, held records."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.message import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class HeldState(StrEnum):
    """Why a record is held: the log refused it, or one of its key before it."""

    HELD = "HELD"
    BEHIND = "BEHIND"


class Verdict(StrEnum):
    """What an operator wishes for a held record; the owner of its lane acts on it."""

    RESUME = "RESUME"
    SKIP = "SKIP"


class Share(msgspec.Struct, frozen=True):
    """What a member has after a look at the leases.

    `positions` of every lane that its token holds; `taken` are those that it did not hold before,
    whatever it believed: a lease may have been void. `surplus`: how many more than its part.
    `free_keys` are the (lane, key) among them of whose held records some may be sent or let go.
    """

    positions: dict[int, int]
    taken: frozenset[int]
    surplus: int
    members: int
    held: int
    """Records that the log refused, of the whole outbox; those behind them do not count."""
    free_keys: tuple[tuple[int, str], ...] = ()


class ToHold(msgspec.Struct, frozen=True):
    """A record that goes to the held ones when its lane's position passes it."""

    lane: int
    seq: int
    state: HeldState
    reason: str


class HeldRecord(msgspec.Struct, frozen=True):
    """A held record as its owner finds it."""

    record: Record
    state: HeldState
    verdict: Verdict | None


class HeldInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A held record as an operator sees it."""

    lane: int
    seq: int
    id: UUID
    topic: str
    type: str
    key: str
    bytes: int
    state: str
    reason: str
    held_at: datetime
    verdict: str | None
    verdict_by: str | None
    verdict_reason: str | None


def part_of(place: int, members: int) -> int:
    """How many of the lanes the member at this place has: even but for one."""
    return ALL_LANES // members + (place < ALL_LANES % members)


class RelayStore(Protocol):
    """The lanes of one outbox: who owns them, how far they are sent, what is held (L1-L4, L6).

    Everything raises TransientError while the database is away.
    """

    async def attach(self, log: str) -> None:
        """Begin (or go on) to feed this log. Raises ConfigurationError if that would lose or mix.

        May be repeated. Switches the outbox to relay mode if it is drained or was never used.
        """

    async def share(self, token: UUID, name: str, lease_seconds: float) -> Share:
        """Renew what the token holds, and take free lanes up to this member's even part."""

    async def give_back(self, token: UUID, lanes: Collection[int]) -> None:
        """Let others have these lanes. What the token does not hold stays as it is."""

    async def leave(self, token: UUID) -> None:
        """Give everything back, and count no longer."""

    async def held_keys(self, lanes: Collection[int]) -> Mapping[int, set[str]]:
        """Keys with held records, by lane: loaded before anything of a lane is sent (L4)."""

    async def read(self, positions: Mapping[int, int], limit: int) -> Sequence[Record]:
        """Records above the positions, ascending in each lane, lanes in the order given.

        At most `limit`, and fewer if their values are large; a reader that gets none has all.
        """

    async def advance(
        self, token: UUID, positions: Mapping[int, int], held: Sequence[ToHold]
    ) -> set[int]:
        """Move lanes forward and store what is held on the way, all or nothing; which moved.

        A lane whose token is another's (or whose position is further) does not move, and nothing
        of it is held.
        """

    async def held_records(self, lane: int, key: str, limit: int) -> Sequence[HeldRecord]:
        """Those of a key that wait, in seq order."""

    async def settle(
        self,
        token: UUID,
        lane: int,
        *,
        sent: Sequence[int] = (),
        skipped: Sequence[int] = (),
        refused: ToHold | None = None,
    ) -> bool:
        """Held records were sent or let go; one may be refused again. False: not our lane."""
