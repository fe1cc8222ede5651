"""Direct reading on PostgreSQL: protocol D1 to D8, one test or more a rule."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.messaging.postgres.log_world import FAST, SOURCE, LogWorld, Stoppable, eventually

from waybill.messaging.adapters.postgres.consumer_places import PLACES
from waybill.messaging.adapters.postgres.consumers import forget_consumer
from waybill.messaging.adapters.postgres.lease import release_all
from waybill.messaging.adapters.postgres.notify import Notifier
from waybill.messaging.adapters.postgres.roles import grants
from waybill.messaging.core.errors import ConfigurationError, LeaseLostError, TransientError
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.reading.subscription import EMPTY
from waybill.messaging.testing.contracts.log import (
    CONSUMER,
    OTHER_TOPIC,
    TOPIC,
    commit,
    next_records,
    read_all,
)
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.core.message import Batch
    from waybill.messaging.reading.subscription import OutboxSubscription

SLOW_POLL = LogSettings(poll_seconds=1.0, lease_seconds=5.0)


@pytest.fixture
async def world(messaging_database: str, second_messaging_database: str) -> AsyncIterator[LogWorld]:
    """A producer and a consumer."""
    made = LogWorld(messaging_database, second_messaging_database)
    await made.open()
    yield made
    await made.close()


async def test_d1_stand_by_takes_an_expired_lease_with_a_new_token(world: LogWorld) -> None:
    """Protocol D1: a member that fell silent is replaced, and can change nothing afterwards."""
    silent = await world.member()
    await world.publish("k")
    batch = await next_records(silent)
    token = (await world.stored())["lease_token"]
    silent._keeper._loop.cancel()  # type: ignore[union-attr]  # it stops renewing, as if frozen
    async with asyncio.timeout(5.0):
        second = await world.member()
    assert (await world.stored())["lease_token"] != token
    with pytest.raises(LeaseLostError):
        await commit(silent, world.consuming, batch)
    assert len(await read_all(second, world.consuming, 1)) == 1


async def test_d1_a_frozen_member_fences_and_records_nothing(world: LogWorld) -> None:
    """Protocol D1: the lock, and the statement that moves positions, ask each for the token."""
    silent = await world.member()
    messages = await world.publish("k")
    batch = await next_records(silent)
    silent._keeper._loop.cancel()  # type: ignore[union-attr]  # it stops renewing, as if frozen
    async with asyncio.timeout(5.0):
        second = await world.member()
    before = (await world.stored())["positions"]
    with pytest.raises(LeaseLostError):
        async with world.consuming.transaction() as transaction:
            await silent.lock(transaction)
    with pytest.raises(LeaseLostError):
        async with world.consuming.transaction() as transaction:
            await silent.record(transaction, batch.scanned, [message.id for message in messages])
    assert (await world.stored())["positions"] == before
    assert len(await read_all(second, world.consuming, 1)) == 1


async def test_d1_lease_is_renewed_while_idle(world: LogWorld) -> None:
    """Protocol D1: nothing to read is no reason to lose the lease."""
    await world.member()
    first = await world.stored()

    async def renewed() -> bool:
        row = await world.stored()
        assert row["lease_token"] == first["lease_token"]
        return bool(row["lease_until"] > first["lease_until"])

    await eventually(renewed)


async def test_d1_taken_over_batch_waits_for_the_one_in_flight(world: LogWorld) -> None:
    """Protocol D1: the row lock holds a take-over back until the batch has ended."""
    active = await world.member()
    await world.publish("k")
    batch = await next_records(active)
    async with world.consuming.transaction() as transaction:
        await active.lock(transaction)
        await release_all_but_locked(world)
        joining = asyncio.create_task(world.member())
        await active.record(transaction, batch.scanned)
        await asyncio.sleep(0)
        assert not joining.done()
    await active.close()
    second = await joining
    await world.publish("k")
    (record,) = (await next_records(second)).records
    assert record.seq > batch.records[0].seq


async def release_all_but_locked(world: LogWorld) -> None:
    """What a restarted platform does; a locked row would make it wait."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await release_all(world.consuming)


async def test_d1_release_all_frees_the_leases_of_the_dead(world: LogWorld) -> None:
    """A platform that is alone on its data does not wait for leases after SIGKILL."""
    dead = await world.member(LogSettings(lease_seconds=10.0))
    dead._keeper._loop.cancel()  # type: ignore[union-attr]  # it is dead
    await release_all(world.consuming)
    async with asyncio.timeout(2.0):
        await world.member()


async def test_d1_lost_lease_is_told_and_rewind_joins_again(world: LogWorld) -> None:
    """Protocol D1: fetch says LeaseLost; a rewind starts at the stored positions."""
    member = await world.member()
    await world.publish("k")
    await read_all(member, world.consuming, 1)
    await release_all(world.consuming)

    async def told() -> bool:
        try:
            await member.fetch(10)
        except LeaseLostError:
            return True
        return False

    await eventually(told)
    await member.rewind()
    await world.publish("k")
    assert len(await read_all(member, world.consuming, 1)) == 1


async def test_d2_positions_pass_over_foreign_topics_at_most_once_a_second(
    world: LogWorld,
) -> None:
    """Protocol D2: a quiet consumer does not rescan the tail, nor write at every poll."""
    member = await world.member()
    batches: list[Batch] = []
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() < start + 1.5:
        await world.publish("a", "b", topic=OTHER_TOPIC)
        batch = await member.fetch(10)
        if batch.scanned:
            batches.append(batch)
    assert 1 <= len(batches) <= 1 + loop.time() - start
    await commit(member, world.consuming, batches[-1])
    assert max((await world.stored())["positions"]) > 0


async def test_d3_reader_role_reads_the_outbox_and_nothing_else(
    world: LogWorld,
) -> None:
    """Protocol D3: SELECT on the outbox, register and report; no more."""
    database = world.source_url.split("@/")[1].split("?")[0]
    role = f"{database}_reader"
    for statement in (
        f"CREATE ROLE {role} LOGIN PASSWORD 'read'",
        f"CREATE ROLE {role}_service",
        *grants(f"{role}_service", role),
    ):
        await world.source.fetch(statement)
    url = f"postgresql://{role}:read@{world.source_url.split('@')[1]}"
    sources = {SOURCE: SourceSpec(url, frozenset({TOPIC}))}
    try:
        member = await world.member(sources=sources)
        await world.publish("k")
        assert len(await read_all(member, world.consuming, 1)) == 1
        await member.close()
        connection = await asyncpg.connect(url)
        for forbidden in (
            "SELECT * FROM messaging.inbox",
            "SELECT * FROM messaging.outbox_reader",
            "SELECT * FROM messaging.dead_letters",
            "INSERT INTO messaging.outbox SELECT * FROM messaging.outbox",
            "DELETE FROM messaging.outbox",
            "SELECT nextval('messaging.outbox_seq')",
            "CREATE TABLE public.mine (n int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        await connection.close()
    finally:
        for name in (role, f"{role}_service"):
            await world.source.fetch(f"DROP OWNED BY {name}")
            await world.source.fetch(f"DROP ROLE {name}")


async def test_d3_positions_are_reported_after_the_commit(world: LogWorld) -> None:
    """Protocol D3: reports follow the commit in the background, so they are only ever too low."""
    member = await world.member()
    sent = await world.publish("k")
    batch = await next_records(member)
    lane = lane_of(sent[0].key)

    async def reported() -> int:
        row = await world.registered()
        return int(row["positions"][lane]) if row else -1

    assert await reported() == 0
    await commit(member, world.consuming, batch)

    async def caught_up() -> bool:
        return await reported() == batch.records[0].seq

    await eventually(caught_up)


async def test_d3_close_reports_a_last_time(world: LogWorld) -> None:
    """A drained consumer leaves no false lag behind."""
    member = await world.member(LogSettings(report_seconds=60.0))
    await world.publish("k")
    batch = await next_records(member)
    await commit(member, world.consuming, batch)
    await member.close()
    row = await world.registered()
    assert row is not None
    assert max(row["positions"]) == batch.records[0].seq


async def test_d4_new_consumer_starts_at_the_horizon(world: LogWorld) -> None:
    """Protocol D4: a late subscriber gets everything that is retained; its start is recorded."""
    sent = await world.publish("a", "b", "c")
    late = await world.member()
    assert len(await read_all(late, world.consuming, len(sent))) == 3
    row = await world.stored()
    assert row["start"] == [0] * ALL_LANES
    assert row["horizon"] == 1


async def test_d4_new_consumer_can_start_at_the_end(world: LogWorld) -> None:
    """Protocol D4: with start = end only what comes from now on is read, and that is recorded."""
    await world.publish("a", "b")
    member = await world.member(LogSettings(start="end", poll_seconds=0.05))
    later = await world.publish("a", "b")
    records = await read_all(member, world.consuming, 2)
    assert {record.message.id for record in records} == {message.id for message in later}
    start = (await world.stored())["start"]
    assert start[lane_of("a")] > 0
    registered = await world.registered()
    assert registered is not None
    assert registered["start"] == start


async def test_d4_position_below_the_horizon_refuses_to_start(world: LogWorld) -> None:
    """Protocol D4: rows that were dropped unread are said aloud, with the way out."""
    member = await world.member()
    await world.publish("k")
    await read_all(member, world.consuming, 1)
    await member.close()
    await world.source.fetch("DELETE FROM messaging.outbox_reader")
    await world.publish("k")
    await world.source.fetch("UPDATE messaging.outbox_meta SET horizon = 1000")
    await world.source.fetch("SELECT setval('messaging.outbox_seq', 2000)")
    with pytest.raises(ConfigurationError, match="waybill consumers reset tracking"):
        await world.member()
    await PLACES.reset(
        world.consuming, world.source, consumer=CONSUMER, source_name=SOURCE, to="horizon"
    )
    again = await world.member()
    await world.publish("k")
    assert len(await read_all(again, world.consuming, 1)) == 1


async def test_d4_known_reader_below_the_horizon_has_lost_nothing(world: LogWorld) -> None:
    """Protocol D5: an idle lane's position never moves; that alone is no reason to refuse."""
    member = await world.member()
    await member.close()
    await world.source.fetch("UPDATE messaging.outbox_meta SET horizon = 1000")
    await world.source.fetch("SELECT setval('messaging.outbox_seq', 2000)")
    again = await world.member()
    await world.publish("k")
    assert len(await read_all(again, world.consuming, 1)) == 1


async def test_d4_consumer_whose_own_database_was_restored_is_told(world: LogWorld) -> None:
    """Protocol D4: positions below the reported ones may miss what retention took meanwhile."""
    member = await world.member()
    await world.publish("k", "k", "k")
    await read_all(member, world.consuming, 3)
    await member.close()
    await world.consuming.fetch(
        "UPDATE messaging.consumer_source SET positions = start, last_ids = NULL"
    )
    await world.source.fetch("UPDATE messaging.outbox_meta SET horizon = 3")
    with pytest.raises(ConfigurationError, match="below the horizon"):
        await world.member()


async def test_d4_reset_of_a_running_consumer_makes_it_start_again(world: LogWorld) -> None:
    """`waybill consumers reset` needs no stop: the lease is void, stored positions count."""
    member = await world.member()
    sent = await world.publish("a", "b")
    await read_all(member, world.consuming, 2)
    await PLACES.reset(
        world.consuming, world.source, consumer=CONSUMER, source_name=SOURCE, to="horizon"
    )

    async def told() -> bool:
        try:
            await member.fetch(10)
        except LeaseLostError:
            return True
        return False

    await eventually(told)
    await member.rewind()
    again = await read_all(member, world.consuming, 2)
    assert {record.message.id for record in again} == {message.id for message in sent}


async def test_d4_forget_refuses_a_running_consumer(world: LogWorld) -> None:
    """A consumer that runs holds retention back on purpose; one that is gone can be forgotten."""
    member = await world.member()
    with pytest.raises(ConfigurationError, match="stop it first"):
        await forget_consumer(world.source, consumer=CONSUMER, source_name=SOURCE)
    await member.close()
    await world.source.fetch("UPDATE messaging.outbox_reader SET seen_at = seen_at - interval '1h'")
    assert await forget_consumer(
        world.source, consumer=CONSUMER, source_name=SOURCE, consuming=world.consuming
    )
    assert await world.registered() is None


async def test_d4_forgotten_reader_registers_again_when_it_reports(world: LogWorld) -> None:
    """A reader that was forgotten by mistake holds retention back again by itself."""
    member = await world.member()
    await world.publish("k")
    batch = await next_records(member)
    await world.source.fetch("DELETE FROM messaging.outbox_reader")
    await commit(member, world.consuming, batch)

    async def registered() -> bool:
        await member.fetch(10)
        return await world.registered() is not None

    await eventually(registered)


@pytest.mark.parametrize("what", ["identity", "sequence", "row"])
async def test_d6_restored_source_is_read_again_from_its_horizon(
    world: LogWorld, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Protocol D6: another server, a position beyond the sequence, another row at the position."""
    member = await world.member()
    sent = await world.publish("a", "b", "c", "d")
    await read_all(member, world.consuming, 4)
    await member.close()
    if what == "identity":
        await world.consuming.fetch("UPDATE messaging.consumer_source SET system_identifier = '1'")
    else:
        await world.source.fetch("TRUNCATE messaging.outbox")
        await world.source.fetch("SELECT setval('messaging.outbox_seq', 1, false)")
        keys = ["a", "b"] if what == "sequence" else ["a", "b", "c", "d", "e"]
        sent = await world.publish(*keys)
    with caplog.at_level(logging.WARNING):
        again = await world.member()
        records = await read_all(again, world.consuming, len(sent))
    assert {record.message.id for record in records} == {message.id for message in sent}
    assert "restored" in caplog.text


async def test_d6_source_restored_under_a_running_consumer(world: LogWorld) -> None:
    """Protocol D6: fetch says LeaseLost before anything read afterwards can be recorded."""
    member = await world.member()
    await world.publish(*"abcdefgh")
    before = await next_records(member)
    await world.source.fetch("TRUNCATE messaging.outbox")
    await world.source.fetch("SELECT setval('messaging.outbox_seq', 1, false)")
    sent = await world.publish(*"abcd")
    await world.disconnect_reader()

    async def told() -> bool:
        try:
            await fetch_through_an_outage(member)
        except LeaseLostError:
            return True
        return False

    await eventually(told)
    with pytest.raises(LeaseLostError):
        await commit(member, world.consuming, before)
    await member.rewind()
    records = await read_all(member, world.consuming, 4)
    assert {record.message.id for record in records} == {message.id for message in sent}


async def test_d6_lost_connection_alone_rewinds_nothing(world: LogWorld) -> None:
    """Protocol D6: a restart of the source's server costs a reconnect, no repeats."""
    member = await world.member()
    await world.publish("a", "b")
    await read_all(member, world.consuming, 2)
    await world.disconnect_reader()
    (sent,) = await world.publish("a")
    async with asyncio.timeout(20):
        while True:
            batch = await fetch_through_an_outage(member)
            if batch.records:
                break
    assert [record.message.id for record in batch.records] == [sent.id]


async def fetch_through_an_outage(member: OutboxSubscription) -> Batch:
    """As the consumer's loop does."""
    try:
        return await member.fetch(10)
    except TransientError:
        return EMPTY


async def test_d7_doorbell_of_the_process_wakes_the_reader(world: LogWorld) -> None:
    """Protocol D7: a commit in this process is seen without any poll."""
    clock = Stoppable()
    member = await world.member(SLOW_POLL, doorbells={SOURCE: world.bell}, monotonic=clock)
    await settle(member)
    clock.stop()
    waiting = asyncio.create_task(next_records(member))
    await asyncio.sleep(0)
    await world.publish("k")
    assert len((await waiting).records) == 1


async def test_d7_notify_wakes_the_reader_of_another_process(world: LogWorld) -> None:
    """Protocol D7: a hint goes out after the commit, in a transaction of its own."""
    clock = Stoppable()
    member = await world.member(SLOW_POLL, monotonic=clock)
    await settle(member)
    clock.stop()
    waiting = asyncio.create_task(next_records(member))
    await asyncio.sleep(0)
    await world.publish("k")
    notifier = Notifier(world.source)
    for _ in range(100):
        notifier.ring()
    assert len((await waiting).records) == 1
    await notifier.close()


async def test_d7_lost_hint_costs_a_poll(world: LogWorld) -> None:
    """Protocol D7: without any hint a message is read within the poll of at most a second."""
    member = await world.member(SLOW_POLL)
    await settle(member)
    await world.publish("k")
    async with asyncio.timeout(3.0):
        await next_records(member)


async def settle(member: OutboxSubscription) -> None:
    """Let the first look pass, which would find anything."""
    await member.fetch(10)


async def test_d8_source_that_is_not_configured_is_told_at_start(world: LogWorld) -> None:
    """Protocol D8: a topic of which nobody said where it is read names the way out."""
    with pytest.raises(ConfigurationError, match="KAFKA_BROKERS"):
        await world.member(topics=["letters-of-nobody"])
    empty = {SOURCE: SourceSpec("", frozenset({TOPIC}))}
    with pytest.raises(ConfigurationError, match="KAFKA_BROKERS"):
        await world.member(sources=empty)


async def test_d8_wrong_url_is_told_at_start(world: LogWorld) -> None:
    """A URL that no driver understands is no outage."""
    wrong = {SOURCE: SourceSpec("postgresql://h:port/x", frozenset({TOPIC}))}
    with pytest.raises(ConfigurationError, match="URL"):
        await world.member(sources=wrong)


@pytest.mark.parametrize("limits", [{"lease_seconds": 10.5}, {"poll_seconds": 1.5}])
def test_limits_beyond_the_protocol_are_refused(limits: dict[str, float]) -> None:
    """Protocol D1, D7: a lease of at most ten seconds, a poll of at most one."""
    with pytest.raises(ConfigurationError):
        LogSettings(**limits)  # type: ignore[arg-type]  # all of these are numbers


def test_fast_settings_are_within_the_limits() -> None:
    """The tests run under the rules that users run under."""
    assert FAST.poll_seconds <= 1


async def test_d8_replica_is_refused(world: LogWorld, data_directory: Path) -> None:
    """Protocol D8: a replica may lack what is published and have what will not be."""
    with EmbeddedPostgres(data_directory) as server:
        cluster = Path(await source_setting(server.url(), "data_directory"))
    (cluster / "standby.signal").touch()
    with EmbeddedPostgres(data_directory) as replica:
        sources = {SOURCE: SourceSpec(replica.url(), frozenset({TOPIC}))}
        with pytest.raises(ConfigurationError, match="replica"):
            await world.member(sources=sources)


async def source_setting(url: str, name: str) -> str:
    """A setting of a server."""
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close()
