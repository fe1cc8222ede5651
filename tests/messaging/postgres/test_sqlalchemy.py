"""Messaging inside a user's SQLAlchemy transactions keeps the contracts, and protocol O2."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.adapters.postgres.server import checked_server
from waybill.messaging.adapters.sqlalchemy.database import SqlalchemyDatabase
from waybill.messaging.adapters.sqlalchemy.transaction import join
from waybill.messaging.core.errors import (
    ConfigurationError,
    DomainConstraintError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.testing.contracts.inbox import InboxContract
from waybill.messaging.testing.contracts.outbox import OutboxContract, a_message
from waybill.messaging.testing.contracts.transaction import TransactionContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.message import Record
    from waybill.messaging.testing.contracts.outbox import Reader
    from waybill.messaging.testing.contracts.transaction import Probe

KEY = "k"
FEW_SECONDS = 10.0


class Base(DeclarativeBase):
    pass


class Probed(Base):
    __tablename__ = "probe"
    n: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str | None]
    small: Mapped[int | None]
    unique_value: Mapped[str | None]


@pytest.fixture
async def engine(messaging_database: str) -> AsyncIterator[AsyncEngine]:
    """The user's engine."""
    url = messaging_database.replace("postgresql://", "postgresql+asyncpg://")
    made = create_async_engine(url, pool_size=8)
    yield made
    await made.dispose()


@pytest.fixture
def database(engine: AsyncEngine) -> SqlalchemyDatabase:
    """Over the user's engine."""
    return SqlalchemyDatabase(engine)


@pytest.fixture
def outbox() -> PostgresOutbox:
    """The one of PostgreSQL: it speaks to the Transaction port."""
    return PostgresOutbox()


@pytest.fixture
def inbox() -> PostgresInbox:
    """As above."""
    return PostgresInbox()


class TestSqlalchemyTransaction(TransactionContract):
    pass


class TestSqlalchemyOutbox(OutboxContract):
    pass


class TestSqlalchemyInbox(InboxContract):
    pass


async def published(read: Reader) -> Sequence[int]:
    """Versions of the messages of KEY, in order."""
    records: Sequence[Record] = await read(lane_of(KEY), 0, 100)
    return [record.message.version for record in records]


async def append(owner: AsyncConnection | AsyncSession, version: int) -> None:
    """Join and append one message, which its version tells apart."""
    PostgresOutbox().append(await join(owner), [a_message(KEY, version=version)])


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """The user's session."""
    async with AsyncSession(engine) as made:
        yield made


async def test_session_commits_state_and_message(
    session: AsyncSession, probe: Probe, read: Reader
) -> None:
    """The user's own commit() carries the message with the ORM's rows."""
    async with session.begin():
        session.add(Probed(n=1, value="a parcel"))
        await append(session, 1)
    assert await probe.read() == ["a parcel"]
    assert await published(read) == [1]


async def test_connection_commits_as_you_go(engine: AsyncEngine, read: Reader) -> None:
    """One connection, several transactions: each carries its own messages."""
    calls: list[int] = []
    async with engine.connect() as connection:
        for version in (1, 2):
            await connection.execute(text("SELECT 1"))
            await append(connection, version)
            (await join(connection)).on_commit(lambda v=version: calls.append(v))  # type: ignore[misc]
            await connection.commit()
        assert calls == [1]
    assert calls == [1, 2]
    assert await published(read) == [1, 2]


async def test_message_alone_begins_a_transaction(engine: AsyncEngine, read: Reader) -> None:
    """A unit that sent no statement of its own is a transaction nevertheless."""
    async with engine.begin() as connection:
        await append(connection, 1)
    assert await published(read) == [1]


async def test_user_rollback_takes_the_messages(session: AsyncSession, read: Reader) -> None:
    """No message of a session that was rolled back, and no call."""
    calls: list[int] = []
    await append(session, 1)
    (await join(session)).on_commit(lambda: calls.append(1))
    await session.rollback()
    await append(session, 2)
    await session.commit()
    await session.close()
    assert await published(read) == [2]
    assert calls == []


async def test_savepoint_rollback_drops_what_was_appended_in_it(
    session: AsyncSession, read: Reader
) -> None:
    """Protocol O2: messages and calls of a rolled back savepoint go, its neighbours' stay."""
    calls: list[int] = []
    async with session.begin():
        await append(session, 1)
        async with session.begin_nested():
            await append(session, 2)
        for version in (3, 4):
            nested = await session.begin_nested()
            await append(session, version)
            transaction = await join(session)
            transaction.on_commit(lambda v=version: calls.append(v))  # type: ignore[misc]
            async with session.begin_nested():
                await append(session, version * 10)
            if version == 3:
                await nested.rollback()
            else:
                await nested.commit()
        await append(session, 5)
    assert await published(read) == [1, 2, 4, 40, 5]
    assert calls == [4]


async def test_failure_inside_a_savepoint_can_be_taken_back(
    session: AsyncSession, probe: Probe, read: Reader
) -> None:
    """Protocol O2: a savepoint rolled back by an error takes its messages, the unit goes on."""
    async with session.begin():
        await append(session, 1)
        with pytest.raises(exc.IntegrityError):
            async with session.begin_nested():
                await append(session, 2)
                await session.execute(text("INSERT INTO probe (value) VALUES ('x')"))
        await session.execute(text("INSERT INTO probe (value) VALUES ('y')"))
    assert await published(read) == [1]
    assert await probe.read() == ["y"]


async def test_savepoint_by_hand(session: AsyncSession, read: Reader) -> None:
    """Protocol O2: savepoints in the user's own SQL count, and one can be rolled back twice."""
    async with session.begin():
        await append(session, 1)
        await session.execute(text("SAVEPOINT mine"))
        await append(session, 2)
        await session.execute(text("ROLLBACK TO mine"))
        await append(session, 3)
        await session.execute(text("ROLLBACK TO SAVEPOINT mine"))
        await append(session, 4)
        await session.execute(text("RELEASE SAVEPOINT mine"))
    assert await published(read) == [1, 4]


async def test_savepoint_older_than_the_join(session: AsyncSession, read: Reader) -> None:
    """Protocol O2: what was appended after a savepoint goes with it, though the join came late."""
    async with session.begin():
        nested = await session.begin_nested()
        await append(session, 1)
        await nested.rollback()
        await append(session, 2)
    assert await published(read) == [2]


async def test_calls_wait_for_the_commit(session: AsyncSession) -> None:
    """A call is made after COMMIT returned, not when it was sent."""
    seen: list[bool] = []
    async with session.begin():
        transaction = await join(session)

        async def flush(_transaction: object, _items: object) -> None:
            transaction.on_commit(lambda: seen.append(True))
            assert seen == []

        transaction.buffer(flush).append(1)
    assert seen == [True]


async def test_failed_commit_makes_no_calls(session: AsyncSession, probe: Probe) -> None:
    """A COMMIT that the database refuses is a rollback: nothing is called."""
    calls: list[int] = []
    await session.execute(
        text("ALTER TABLE probe ADD CONSTRAINT late UNIQUE (value) DEFERRABLE INITIALLY DEFERRED")
    )
    await session.commit()
    (await join(session)).on_commit(lambda: calls.append(1))
    await session.execute(text("INSERT INTO probe (value) VALUES ('a'), ('a')"))
    with pytest.raises(exc.IntegrityError):
        await session.commit()
    await session.close()
    assert calls == []
    assert await probe.read() == []


async def test_autocommit_is_refused(engine: AsyncEngine) -> None:
    """Protocol O2: on an AUTOCOMMIT connection the lane locks would end at once."""
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await join(connection)


async def test_two_phase_is_refused(engine: AsyncEngine) -> None:
    """Protocol E4: a prepared transaction could hold the lane locks for ever."""
    async with AsyncSession(engine, twophase=True) as session:
        with pytest.raises(ConfigurationError, match="two-phase"):
            await join(session)


@pytest.mark.parametrize("act", ["commit", "rollback", "close", "aclose", "reset", "invalidate"])
async def test_o7_a_handler_cannot_end_the_session_of_its_unit(
    database: SqlalchemyDatabase, probe: Probe, read: Reader, act: str
) -> None:
    """Protocol O7: half an effect behind an inbox row would be lost for ever."""
    with pytest.raises(RuntimeError, match="unit of work"):
        async with database.transaction() as transaction:
            transaction.session.add(Probed(value="half an effect"))
            await transaction.session.flush()
            PostgresOutbox().append(transaction, [a_message(KEY)])
            await getattr(transaction.session, act)()
    assert await probe.read() == []
    assert await published(read) == []


@pytest.mark.parametrize("how", ["connection", "sync session", "sql", "swallowed"])
async def test_o7_nor_by_any_way_around(
    database: SqlalchemyDatabase, probe: Probe, read: Reader, how: str
) -> None:
    """Protocol O7: the COMMIT itself is refused, whoever sends it, and stays refused."""
    with pytest.raises((RuntimeError, TransientError)):
        async with database.transaction() as transaction:
            session = transaction.session
            session.add(Probed(value="half an effect"))
            await session.flush()
            PostgresOutbox().append(transaction, [a_message(KEY)])
            if how == "connection":
                await (await session.connection()).commit()
            elif how == "sync session":
                await session.run_sync(lambda sync: sync.commit())
            elif how == "sql":
                await transaction.execute("COMMIT")
            else:
                with suppress(RuntimeError):
                    await session.run_sync(lambda sync: sync.commit())
                session.add(Probed(value="the other half"))
    assert await probe.read() == []
    assert await published(read) == []


async def test_a_swallowed_error_of_a_flush_is_no_commit(
    database: SqlalchemyDatabase, probe: Probe
) -> None:
    """Pitfall B57: SQLAlchemy has rolled back; the unit is tried again, not taken for done."""
    with pytest.raises(TransientError, match="swallowed"):
        async with database.transaction() as transaction:
            await probe.write(transaction, "half an effect")
            transaction.session.add(Probed(value="x"))
            with suppress(exc.IntegrityError):
                await transaction.session.flush()
    assert await probe.read() == []


async def test_nested_transactions_of_a_unit_are_its_own(
    database: SqlalchemyDatabase, probe: Probe
) -> None:
    """A savepoint ends no unit."""
    async with database.transaction() as transaction, transaction.session.begin_nested():
        transaction.session.add(Probed(value="kept"))
    assert await probe.read() == ["kept"]


async def test_transaction_is_needed(engine: AsyncEngine) -> None:
    """Joining nothing is refused."""
    async with engine.connect() as connection:
        with pytest.raises(ConfigurationError, match="begin"):
            await join(connection)


async def test_swallowed_error_cannot_commit(session: AsyncSession, read: Reader) -> None:
    """Pitfall B57: COMMIT after a swallowed error would be a silent rollback: it raises."""
    calls: list[int] = []
    transaction = await join(session)
    transaction.on_commit(lambda: calls.append(1))
    connection = await session.connection()
    with pytest.raises(exc.DBAPIError):
        await connection.execute(text("SELECT 1/0"))
    with pytest.raises(exc.DBAPIError):
        await session.commit()
    await session.close()
    assert calls == []
    assert await published(read) == []


@pytest.mark.parametrize(
    ("statement", "meaning"),
    [
        ("INSERT INTO probe (value) VALUES ('x')", DomainConstraintError),
        ("INSERT INTO probe (small) VALUES (99999)", PermanentError),
        ("SELECT * FROM nowhere", TransientError),
    ],
)
async def test_errors_of_the_orm_are_translated(
    database: SqlalchemyDatabase, probe: Probe, statement: str, meaning: type[Exception]
) -> None:
    """Protocol C6: an error of the session means what it means on the plain adapter."""
    with pytest.raises(meaning):
        async with database.transaction() as transaction:
            await probe.write(transaction, "lost")
            await transaction.session.execute(text(statement))
    assert await probe.read() == []


async def test_handler_uses_the_orm_in_the_unit(
    database: SqlalchemyDatabase, probe: Probe, read: Reader
) -> None:
    """A consumer's unit of work has a session: ORM, inbox and outbox commit together."""
    message = a_message()
    async with database.transaction() as transaction:
        assert await PostgresInbox().claim(transaction, "c", [message.id]) == {message.id}
        transaction.session.add(Probed(n=1, value="by the ORM"))
        PostgresOutbox().append(transaction, [a_message(KEY, version=9)])
    assert await probe.read() == ["by the ORM"]
    assert await published(read) == [9]


async def test_server_of_an_engine_can_be_checked(
    database: SqlalchemyDatabase, messaging_database: str
) -> None:
    """Protocol O3, D8: a user's engine is held to the same server rules as our own pool."""
    own = await PostgresDatabase.connect(messaging_database)
    assert await checked_server(database) == own.server
    await own.close()


async def test_connection_lost_in_commit_is_unknown(
    database: SqlalchemyDatabase, messaging_database: str
) -> None:
    """A COMMIT without an answer is neither a success nor a failure."""
    other = await PostgresDatabase.connect(messaging_database)
    statement = """
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE TABLE doomed (a int);
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON doomed
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()
    """
    calls: list[int] = []
    async with asyncio.timeout(FEW_SECONDS):
        async with other.transaction() as transaction:
            await transaction.execute(statement)
        await other.close()
        with pytest.raises(OutcomeUnknownError):
            async with database.transaction() as unit:
                unit.on_commit(lambda: calls.append(1))
                unit.on_unknown(lambda: calls.append(2))
                await unit.execute("INSERT INTO doomed VALUES (1)")
        assert calls == [2]
        assert (await database.fetch("SELECT 1"))[0][0] == 1
