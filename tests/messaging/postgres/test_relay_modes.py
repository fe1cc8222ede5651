"""Which way an outbox goes, what it costs to change it, what retention waits for: L1, L6, O6."""

from __future__ import annotations

import pytest
from tests.messaging.postgres.relay_world import SOURCE, RelayWorld, until

from waybill.messaging.adapters.postgres.upkeep import OutboxUpkeep, UpkeepSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.lanes import lane_of

LOG = "memory"


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
    await world.rewind()
    await store.attach(LOG)
    await world.start()
    await world.drained()
    assert len(world.arrived) == 3


async def test_l1_on_another_server_a_window_is_sent_again(world: RelayWorld) -> None:
    """Protocol L1: a restored database may have forgotten; inboxes remove the duplicates."""
    await world.publish("old")
    await world.run("UPDATE messaging.outbox SET created_at = created_at - interval '120' second")
    await world.publish("young", "young")
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    await world.move_to_another_server()
    await world.start()
    await until(lambda: len(world.arrived) == 5)
    assert sorted(r.message.key for r in world.arrived[3:]) == ["young", "young"]


async def test_l1_a_position_beyond_the_sequence_comes_back(world: RelayWorld) -> None:
    """Protocol L1: a restored outbox that is behind its positions sends what it writes from now."""
    await world.run("UPDATE messaging.outbox_lane SET position = 1000")
    await world.run("UPDATE messaging.outbox_meta SET system_identifier = 'before'")
    await world.publish("k")
    await world.start()
    await until(lambda: len(world.arrived) == 1)


async def test_l6_an_outbox_that_was_read_directly_does_not_feed_a_log(world: RelayWorld) -> None:
    """Protocol L6: refused with what to do, before the drain; an unused one needs none."""
    await world.direct()
    await world.engine.require_relay(world.database, SOURCE, "relay")
    assert (await world.status()).mode == "relay"
    await world.direct()
    await world.publish("k")
    for attempt in (
        world.engine.require_relay(world.database, SOURCE, "relay"),
        world.store().attach(LOG),
    ):
        with pytest.raises(ConfigurationError, match="waybill drain"):
            await attempt
    assert (await world.status()).mode == "direct"


async def test_l6_after_the_drain_the_relay_begins_at_the_boundary(world: RelayWorld) -> None:
    """Protocol L6: what every reader has is not sent, what one may lack is."""
    await world.direct()
    await world.publish("k", "k")
    await world.register("fast", 2)
    await world.register("slow", 1)
    assert (await world.drain()).behind == {"slow": 1}
    await world.register("slow", 2)
    assert (await world.drain()).behind == {}
    await world.publish("k")
    await world.engine.require_relay(world.database, SOURCE, "relay")
    await world.start()
    await until(lambda: len(world.arrived) == 1)
    assert (await world.status()).mode == "relay"
    assert not await world.run("SELECT 1 FROM messaging.outbox_reader")


async def test_l6_a_relayed_outbox_is_not_read_directly_before_the_drain(
    world: RelayWorld,
) -> None:
    """Protocol L6: messages that only the relay has would be lost between the two ways."""
    await world.publish("k")
    with pytest.raises(ConfigurationError, match="KAFKA_BROKERS"):
        await world.engine.require_direct(world.database, SOURCE)
    assert (await world.drain()).behind == {"relay": 1}
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    drained = await world.drain()
    assert drained.behind == {}
    assert drained.boundary[lane_of("k")] == 1
    await world.engine.require_direct(world.database, SOURCE)
    await world.engine.require_direct(world.database, SOURCE)
    assert (await world.status()).mode == "direct"


async def test_l6_held_records_keep_an_outbox_from_being_drained(world: RelayWorld) -> None:
    """Protocol L6: in direct mode nobody would ever send them."""
    world.log.value_bytes_max = 10
    await world.start()
    await world.publish("k", value=b"x" * 11)
    await world.drained()
    with pytest.raises(ConfigurationError, match="waybill outbox held list"):
        await world.drain()


async def test_l6_a_drain_is_void_once_the_old_way_goes_on(world: RelayWorld) -> None:
    """Protocol L6: a boundary of long ago must not decide what is sent."""
    await world.direct()
    await world.publish("k")
    await world.drain()
    await world.engine.require_direct(world.database, SOURCE)
    with pytest.raises(ConfigurationError, match="waybill drain"):
        await world.engine.require_relay(world.database, SOURCE, "relay")


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
    assert await world.engine.unread_rows(world.database, count_max=100) == 3
    await world.start()
    await world.publish("k", value=b"x" * 11)
    await world.drained()
    assert await world.engine.unread_rows(world.database, count_max=100) == 0
    status = await world.status()
    assert (status.lag, status.held, status.owners) == (0, 1, ("instance 0",))
