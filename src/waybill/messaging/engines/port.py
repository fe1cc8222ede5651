"""What a service's messaging needs of a database's technology beyond the ports of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.relay import RelayStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.adapters.postgres.connection import PostgresSettings
    from waybill.messaging.adapters.postgres.upkeep import UpkeepSettings
    from waybill.messaging.core.consumers import ConsumerInfo
    from waybill.messaging.core.figures import Figures
    from waybill.messaging.core.message import Appended
    from waybill.messaging.core.ports import (
        Database,
        DeadLetters,
        Deliveries,
        Inbox,
        Outbox,
        PartitionPositions,
        Schedule,
    )
    from waybill.messaging.core.relay import HeldInfo, Verdict
    from waybill.messaging.core.relay_start import Drained
    from waybill.messaging.core.relay_status import RelayStatus
    from waybill.messaging.core.verdicts import Verdicts
    from waybill.messaging.reading.outbox_log import Doorbell, OutboxLog
    from waybill.messaging.reading.places import ConsumerPlaces
    from waybill.messaging.reading.settings import LogSettings, SourceSpec
    from waybill.messaging.reading.topics import Topics


class Published(Protocol):
    """The part of Observer that an outbox reports to."""

    def published(self, topic: str, count: int) -> None:
        """See Observer.published."""


class Hints(Protocol):
    """Tells readers in other processes that the outbox has grown (protocol D7)."""

    def ring(self) -> None:
        """Send a hint soon. Never blocks."""

    async def close(self) -> None:
        """Send none any more."""


class Feeding(RelayStore, Protocol):
    """A relay's store with a connection of its own."""

    async def close(self) -> None:
        """Close the connection."""


class Engine(Protocol):
    """One technology, without state: whatever it makes stands on the database it is given."""

    verdicts: Verdicts
    topics: Topics
    places: ConsumerPlaces

    async def upgrade(self, owner_url: str, *, partition_rows: int) -> None:
        """Create or upgrade messaging's tables, as their owner. May be repeated."""

    async def connect(self, url: str, settings: PostgresSettings) -> Database:
        """Open a pool with these limits. Raises TransientError, ConfigurationError."""

    async def require_direct(self, database: Database, service: str) -> None:
        """Raise ConfigurationError if a relay reads this outbox (protocol L6)."""

    async def require_relay(self, database: Database, service: str, mode: str) -> None:
        """Raise ConfigurationError if consumers read this outbox themselves (protocol L6)."""

    async def require_message_bytes(self, database: Database, message_bytes_max: int) -> None:
        """Raise ConfigurationError if a message of so many bytes is more than it carries."""

    def outbox(
        self,
        *,
        message_bytes_max: int,
        doorbell: Callable[[Sequence[Appended]], None] | None = None,
        observer: Published | None = None,
    ) -> Outbox:
        """See core.ports.Outbox."""

    def inbox(self) -> Inbox:
        """See core.ports.Inbox."""

    def dead_letters(
        self, database: Database, outbox: Outbox, *, suffix: str, message_bytes_max: int
    ) -> DeadLetters:
        """See core.ports.DeadLetters. Their records are no larger than the outbox takes."""

    def deliveries(self, database: Database) -> Deliveries:
        """See core.ports.Deliveries."""

    def schedule(self, database: Database) -> Schedule:
        """See core.ports.Schedule."""

    def log(
        self,
        database: Database,
        sources: Mapping[str, SourceSpec],
        *,
        settings: LogSettings,
        doorbells: Mapping[str, Doorbell],
    ) -> OutboxLog:
        """Read outboxes on this technology, with the positions in `database`."""

    def hints(self, database: Database) -> Hints | None:
        """What hints other processes; None where readers can only poll."""

    def upkeep(self, owner_url: str, settings: UpkeepSettings) -> Callable[[], Awaitable[object]]:
        """One turn of looking after the outbox: to be called now and then, as its owner."""

    async def purge_inbox(
        self, database: Database, older_than_seconds: float, *, sources_hold: bool
    ) -> int:
        """Delete inbox rows beyond their retention; how many."""

    def partition_positions(self, database: Database) -> PartitionPositions:
        """See core.ports.PartitionPositions."""

    def feeding(
        self,
        name: str,
        url: str,
        database: Database,
        *,
        application_name: str,
        rewind_seconds: float,
        mode: str,
    ) -> tuple[Feeding, Callable[[Callable[[], None]], None]]:
        """A relay's store; and what to give a call to that is made at hints of other processes."""

    async def look(self, database: Database) -> Figures:
        """A few reading statements, as the service role; not of one instant."""

    async def look_at_relay(self, database: Database) -> RelayStatus:
        """The same of an outbox that a relay reads."""

    async def undrained(self, database: Database, boundary: Sequence[int] | None = None) -> Drained:
        """Who lacks what up to the boundary; by default all that is there now (protocol L6).

        Raises ConfigurationError for held records, which only a relay can send.
        """

    async def write_boundary(self, database: Database, boundary: Sequence[int]) -> None:
        """Nobody of the present way lacks anything up to here: the next one begins there."""

    async def rewind(self, database: Database, to: int | None) -> list[int]:
        """Have the relay send again what is retained above `to`, all of it by default (L1).

        The new positions by lane. Raises ConfigurationError if there is no such place.
        """

    async def list_held(
        self, database: Database, *, limit: int = 100, with_skipped: bool = False
    ) -> list[HeldInfo]:
        """Records that the log refused, and those behind them, by lane and seq (L4)."""

    async def judge_held(
        self, database: Database, ids: Sequence[UUID], verdict: Verdict, *, who: str, why: str
    ) -> set[UUID]:
        """Leave a word for the owner of the lane; the ids it was left for.

        Raises ConfigurationError for RESUME on a record that only waits behind another one.
        """

    async def list_consumers(
        self, sources: Mapping[str, Database], consumers: Mapping[str, Database]
    ) -> list[ConsumerInfo]:
        """Every consumer that a source or a consuming database knows."""

    async def forget_consumer(
        self,
        source: Database,
        *,
        consumer: str,
        source_name: str,
        consuming: Database | None,
        force: bool,
    ) -> bool:
        """Let retention go on without this consumer; whether the source knew it (D4)."""

    async def unread_rows(self, database: Database, *, count_max: int) -> int:
        """Rows that no reader has passed: at most so many, exactly if it is `count_max` (I5)."""

    async def lineage(self, database: Database) -> str:
        """Which database this is, and since when: another text whenever commits may have gone."""

    async def has_room(self, database: Database) -> tuple[bool, dict[str, str]]:
        """Whether the outbox can take messages tomorrow too, and what to show of that (O1)."""
