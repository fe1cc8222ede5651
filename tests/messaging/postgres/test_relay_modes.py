"""Which way an outbox goes, what it costs to change it, what retention waits for: L1, L6, O6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.postgres.relay_world import SOURCE, RelayWorld, until

from waybill.messaging.adapters.postgres import relay_status
from waybill.messaging.adapters.postgres.backlog import unread_rows
from waybill.messaging.adapters.postgres.relay_mode import (
    drain,
    require_direct,
    require_relay,
    rewind,
)
from waybill.messaging.adapters.postgres.upkeep import OutboxUpkeep, UpkeepSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import ALL_LANES, lane_of

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

LOG = "memory"


async def direct(world: RelayWorld) -> None:
    """As a platform without Kafka leaves it."""
    await world.database.fetch("UPDATE messaging.outbox_meta SET mode = 'direct', log = NULL")


async def mode(database: Database) -> str:
    """As the meta row has it."""
    return (await relay_status.look(database)).mode


async def register(world: RelayWorld, reader: str, position: int) -> None:
    """As a direct reader that is so far in every lane."""
    await world.database.fetch(
        "SELECT messaging.register_reader($1, '{parcel-events}', $2)",
        reader,
        [position] * ALL_LANES,
    )


async def test_l1_another_log_is_refused_until_the_old_one_has_all(world: RelayWorld) -> None:
    """Protocol L1: what the old log lacks would never be sent; a rewind sends it to the new one."""
    await world.publish("k")
    store = world.store()
    with pytest.raises(ConfigurationError, match=f"waybill relay rewind {SOURCE}"):
        await store.attach("another")
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    await store.attach("another")
    await world.publish("k")
    with pytest.raises(ConfigurationError, match="1 messages that the log another does not have"):
        await store.attach(LOG)
    await rewind(world.database, None)
    await store.attach(LOG)
    await world.start()
    await world.drained()
    assert len(world.arrived) == 3


async def test_l1_on_another_server_a_window_is_sent_again(world: RelayWorld) -> None:
    """Protocol L1: a restored database may have forgotten; inboxes remove the duplicates."""
    await world.publish("old")
    await world.database.fetch(
        "UPDATE messaging.outbox SET created_at = created_at - interval '2 minutes'"
    )
    await world.publish("young", "young")
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    await world.database.fetch("UPDATE messaging.outbox_meta SET timeline = timeline + 1")
    await world.start()
    await until(lambda: len(world.arrived) == 5)
    assert sorted(r.message.key for r in world.arrived[3:]) == ["young", "young"]


async def test_l1_a_position_beyond_the_sequence_comes_back(world: RelayWorld) -> None:
    """Protocol L1: a restored outbox that is behind its positions sends what it writes from now."""
    await world.database.fetch("UPDATE messaging.outbox_lane SET position = 1000")
    await world.database.fetch("UPDATE messaging.outbox_meta SET system_identifier = 'before'")
    await world.publish("k")
    await world.start()
    await until(lambda: len(world.arrived) == 1)


async def test_l6_an_outbox_that_was_read_directly_does_not_feed_a_log(world: RelayWorld) -> None:
    """Protocol L6: refused with what to do, before the drain; an unused one needs none."""
    await direct(world)
    await require_relay(world.database, SOURCE)
    assert await mode(world.database) == "relay"
    await direct(world)
    await world.publish("k")
    for attempt in (require_relay(world.database, SOURCE), world.store().attach(LOG)):
        with pytest.raises(ConfigurationError, match="waybill drain"):
            await attempt
    assert await mode(world.database) == "direct"


async def test_l6_after_the_drain_the_relay_begins_at_the_boundary(world: RelayWorld) -> None:
    """Protocol L6: what every reader has is not sent, what one may lack is."""
    await direct(world)
    await world.publish("k", "k")
    await register(world, "fast", 2)
    await register(world, "slow", 1)
    assert (await drain(world.database)).behind == {"slow": 1}
    await register(world, "slow", 2)
    assert (await drain(world.database)).behind == {}
    await world.publish("k")
    await require_relay(world.database, SOURCE)
    await world.start()
    await until(lambda: len(world.arrived) == 1)
    assert await mode(world.database) == "relay"
    assert not await world.database.fetch("SELECT FROM messaging.outbox_reader")


async def test_l6_a_relayed_outbox_is_not_read_directly_before_the_drain(
    world: RelayWorld,
) -> None:
    """Protocol L6: messages that only the relay has would be lost between the two ways."""
    await world.publish("k")
    with pytest.raises(ConfigurationError, match="KAFKA_BROKERS"):
        await require_direct(world.database, SOURCE)
    assert (await drain(world.database)).behind == {"relay": 1}
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    drained = await drain(world.database)
    assert drained.behind == {}
    assert drained.boundary[lane_of("k")] == 1
    await require_direct(world.database, SOURCE)
    await require_direct(world.database, SOURCE)
    assert await mode(world.database) == "direct"


async def test_l6_held_records_keep_an_outbox_from_being_drained(world: RelayWorld) -> None:
    """Protocol L6: in direct mode nobody would ever send them."""
    world.log.value_bytes_max = 10
    await world.start()
    await world.publish("k", value=b"x" * 11)
    await world.drained()
    with pytest.raises(ConfigurationError, match="waybill outbox held list"):
        await drain(world.database)


async def test_l6_a_drain_is_void_once_the_old_way_goes_on(world: RelayWorld) -> None:
    """Protocol L6: a boundary of long ago must not decide what is sent."""
    await direct(world)
    await world.publish("k")
    await drain(world.database)
    await require_direct(world.database, SOURCE)
    with pytest.raises(ConfigurationError, match="waybill drain"):
        await require_relay(world.database, SOURCE)


async def test_o6_retention_waits_for_the_relay(world: RelayWorld, messaging_database: str) -> None:
    """Protocol O6, D5: an unsent row stays, however old; a held one is copied and holds nothing."""
    world.log.value_bytes_max = 10
    await world.publish("k", value=b"x" * 11)
    await world.publish("k")
    await world.database.fetch("SELECT setval('messaging.outbox_seq', 3000000)")
    settings = UpkeepSettings(outbox_retention_seconds=0.0)
    upkeep = OutboxUpkeep(messaging_database, settings)
    assert (await upkeep.turn()).waiting_for == ("relay",)
    await world.start()
    await world.drained()
    assert (await upkeep.turn()).dropped == 3
    assert [state for _, state in await world.held()] == ["HELD", "BEHIND"]


async def test_i5_what_is_unsent_counts_and_what_is_held_does_not(world: RelayWorld) -> None:
    """Protocol I5: the intake's brake sees rows that the log does not have."""
    world.log.value_bytes_max = 10
    await world.publish("k", "k", "k")
    assert await unread_rows(world.database, count_max=100) == 3
    await world.start()
    await world.publish("k", value=b"x" * 11)
    await world.drained()
    assert await unread_rows(world.database, count_max=100) == 0
    status = await relay_status.look(world.database)
    assert (status.lag, status.held, status.owners) == (0, 1, ("instance 0",))
