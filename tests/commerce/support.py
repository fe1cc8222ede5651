"""What tests of the services share: a service over its database, and events to feed it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from waybill.blueprints import choreography
from waybill.commerce.contracts import Line, OrderCreated
from waybill.messaging.core.database_url import is_mysql
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX, Message
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX
from waybill.messaging.core.outbox_row import as_uuid
from waybill.messaging.core.unit import Received
from waybill.messaging.engines import engine_of
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.ports import ServicePorts
from waybill.platform.stores import stores_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from waybill.commerce.contracts import Event
    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.ports import Database, Row, Transaction
    from waybill.messaging.core.unit import UnitOfWork

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MOUSE = UUID("11111111-1111-1111-1111-111111111111")
KEYBOARD = UUID("22222222-2222-2222-2222-222222222222")


class CountedTransaction:
    """A transaction that counts its statements."""

    def __init__(self, transaction: Transaction, database: CountedDatabase) -> None:
        self._transaction = transaction
        self._database = database

    async def execute(self, statement: str, *arguments: object) -> int:
        self._database.statements += 1
        return await self._transaction.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        self._database.statements += 1
        return await self._transaction.fetch(statement, *arguments)

    async def fetch_last(self, statement: str, *arguments: object) -> Sequence[Row]:
        return await self._transaction.fetch_last(statement, *arguments)

    async def fetch_later(
        self,
        statement: str,
        *arguments: object,
        then: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        """Counted."""
        self._database.statements += 1
        await self._transaction.fetch_later(statement, *arguments, then=then)

    async def execute_ahead(
        self, statement: str, *arguments: object, then: Callable[[], None] = lambda: None
    ) -> None:
        await self._transaction.execute_ahead(statement, *arguments, then=then)

    async def settle(self) -> None:
        await self._transaction.settle()

    def buffer(self, flush: Callable[..., Awaitable[None]]) -> list[Any]:
        return self._transaction.buffer(flush)

    def on_commit(self, call: Callable[[], None]) -> None:
        self._transaction.on_commit(call)

    def on_unknown(self, call: Callable[[], None]) -> None:
        self._transaction.on_unknown(call)


class CountedDatabase:
    """A database that counts the statements of its transactions, BEGIN and COMMIT apart."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as transaction:
            yield CountedTransaction(transaction, self)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        return await self._database.fetch(statement, *arguments)

    async def close(self) -> None:
        await self._database.close()


class StillClock(SystemClock):
    """The machine's clock, but `now` stands still until a test moves it."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant


class Tally:
    """Counters that can be read."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.seconds: dict[str, list[float]] = {}

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        text = name + "".join(f"{{{label}={value}}}" for label, value in sorted(labels.items()))
        self.counts[text] = self.counts.get(text, 0) + amount

    def observe(self, name: str, seconds: Sequence[float], **labels: str) -> None:
        text = name + "".join(f"{{{label}={value}}}" for label, value in sorted(labels.items()))
        self.seconds.setdefault(text, []).extend(seconds)


class Handler(Protocol):
    """Any of the services' handlers."""

    async def handle(self, unit: UnitOfWork, received: Sequence[Received]) -> None: ...


class Service:
    """One service's database, and units of work in it."""

    def __init__(
        self, database: Database, name: str, url: str = "", codec: Codec | None = None
    ) -> None:
        self.codec = codec or choreography.codec()
        self.is_mysql = is_mysql(url)
        self.stores = stores_of(url)
        self.database = CountedDatabase(database)
        self.tally = Tally()
        self.clock = StillClock()
        storage = engine_of(url)
        outbox = storage.outbox(message_bytes_max=MESSAGE_BYTES_MAX)
        self.deliveries = storage.deliveries(self.database)
        self.verdicts = storage.verdicts
        self.ports = ServicePorts(
            database=self.database,
            outbox=outbox,
            inbox=storage.inbox(),
            dead_letters=storage.dead_letters(
                database,
                outbox,
                suffix=DEAD_LETTER_SUFFIX,
                message_bytes_max=MESSAGE_BYTES_MAX,
            ),
            codec=self.codec,
            producer=name,
            clock=self.clock,
        )

    @contextlib.asynccontextmanager
    async def unit(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work that commits at the end of the block."""
        async with self.database.transaction() as transaction:
            yield self.ports.unit(transaction)

    async def handle(
        self,
        handler: Handler,
        events: Sequence[Event],
    ) -> list[Event]:
        """Run one batch of events through a handler; the events that it published."""
        seen = await self.last_seq()
        async with self.unit() as unit:
            await handler.handle(unit, [received(event) for event in events])
        return await self.published(after=seen)

    async def last_seq(self) -> int:
        """The highest number in the outbox."""
        rows = await self.rows("SELECT coalesce(max(seq), 0) FROM messaging.outbox")
        return int(rows[0][0])

    async def published(self, *, after: int = 0) -> list[Any]:
        """The events in the outbox above `after`, in order."""
        statement = "SELECT * FROM messaging.outbox WHERE seq > $1 ORDER BY seq"
        rows = await self.database.fetch(self.stores.orders.tables(statement), after)
        return [self.codec.decode(_message(row)) for row in rows]

    async def rows(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of a statement of PostgreSQL's, as tuples; said in MariaDB's words there."""
        if not self.is_mysql:
            rows: Sequence[Any] = await self.database.fetch(statement, *arguments)
            return [tuple(row) for row in rows]
        theirs = re.sub(r"(\S+) IS DISTINCT FROM (\S+)", r"NOT (\1 <=> \2)", statement)
        theirs = self.stores.orders.tables(theirs.replace("public.", ""))
        found: Sequence[Any] = await self.database.fetch(theirs, *arguments)
        return [tuple(map(_id_or_plain, row)) for row in found]


ID_BYTES = 16


def _id_or_plain(value: object) -> object:
    """Ids are 16 bytes there."""
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == ID_BYTES else value


def _message(row: Row) -> Message:
    return Message(
        id=as_uuid(row["id"]),
        topic=row["topic"],
        type=row["type"],
        key=row["aggregateid"],
        value=row["payload"],
        occurred_at=row["occurred_at"],
        version=row["version"],
    )


def received(event: Event) -> Received:
    """An event as a consumer hands it over."""
    message = Message(
        id=new_id(),
        topic="test",
        type=type(event).__name__,
        key=str(event.order_id),
        value=b"",
        occurred_at=NOW,
        correlation_id=str(event.order_id),
    )
    return Received(message, event)


def lines(*wanted: tuple[UUID, int, str]) -> tuple[Line, ...]:
    """Order lines."""
    return tuple(Line(product, quantity, Decimal(price)) for product, quantity, price in wanted)


def created(
    *wanted: tuple[UUID, int], order_id: UUID | None = None, not_after: datetime | None = None
) -> OrderCreated:
    """An OrderCreated of these products and quantities, a unit at 10.00."""
    items = lines(*((product, quantity, "10.00") for product, quantity in wanted))
    return OrderCreated(
        order_id=order_id or new_id(),
        customer_id=new_id(),
        items=items,
        total_amount=sum((line.quantity * line.unit_price for line in items), Decimal(0)),
        currency="EUR",
        not_after=not_after or NOW + timedelta(minutes=15),
    )


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until `condition` holds; fail if it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the database rings no bell
            await asyncio.sleep(0.005)
