"""The relay over MariaDB and MySQL and a log in memory: PostgreSQL's tests of protocol L1 to L5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.mysql.relay_world import MysqlRelayWorld
from tests.messaging.postgres.test_relay import (
    test_a_commit_of_another_process_is_found_by_the_poll,
    test_everything_arrives_once_and_in_order,
    test_l2_an_error_stops_its_lane_which_is_read_again,
    test_l3_a_member_that_was_taken_over_moves_nothing,
    test_l3_instances_share_the_lanes_evenly,
    test_l3_lanes_change_hands_without_loss_or_disorder,
    test_l3_on_loss_what_is_queued_is_purged,
    test_l3_positions_are_written_twenty_times_a_second_at_most,
    test_l3_the_position_passes_acknowledged_records_only,
    test_l3_what_is_under_way_is_bounded,
    test_l4_a_new_owner_knows_what_is_held,
    test_l4_a_record_that_can_never_be_sent_is_held_with_its_key,
    test_l4_a_resumed_record_that_is_refused_again_waits_again,
    test_l4_a_skipped_record_is_kept_and_the_rest_follows,
    test_l4_one_that_waits_behind_another_cannot_be_resumed,
    test_l4_resumed_records_go_in_order_and_the_key_flows_again,
    test_l4_too_many_refused_records_are_an_outage,
)

from waybill.messaging.adapters.mysql.relay_mode import drain, require_direct, require_relay
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from waybill.messaging.adapters.mysql.connection import MysqlDatabase

__all__ = [
    "test_a_commit_of_another_process_is_found_by_the_poll",
    "test_everything_arrives_once_and_in_order",
    "test_l2_an_error_stops_its_lane_which_is_read_again",
    "test_l3_a_member_that_was_taken_over_moves_nothing",
    "test_l3_instances_share_the_lanes_evenly",
    "test_l3_lanes_change_hands_without_loss_or_disorder",
    "test_l3_on_loss_what_is_queued_is_purged",
    "test_l3_positions_are_written_twenty_times_a_second_at_most",
    "test_l3_the_position_passes_acknowledged_records_only",
    "test_l3_what_is_under_way_is_bounded",
    "test_l4_a_new_owner_knows_what_is_held",
    "test_l4_a_record_that_can_never_be_sent_is_held_with_its_key",
    "test_l4_a_resumed_record_that_is_refused_again_waits_again",
    "test_l4_a_skipped_record_is_kept_and_the_rest_follows",
    "test_l4_one_that_waits_behind_another_cannot_be_resumed",
    "test_l4_resumed_records_go_in_order_and_the_key_flows_again",
    "test_l4_too_many_refused_records_are_an_outage",
]


@pytest.fixture
async def world(messaging_database: str) -> AsyncIterator[MysqlRelayWorld]:
    """An empty outbox, and a log that takes values of 1,000 bytes."""
    made = MysqlRelayWorld(messaging_database)
    await made.open()
    made.log.value_bytes_max = 1_000
    yield made
    await made.close()


async def test_l6_a_way_is_changed_only_when_it_is_drained(
    world: MysqlRelayWorld, database: MysqlDatabase
) -> None:
    """Protocol L6: the new way begins at the boundary; before that each refuses the other's."""
    await require_relay(database, "parcels")
    await world.publish("a", "b")
    with pytest.raises(ConfigurationError, match="feeds Kafka"):
        await require_direct(database, "parcels")
    assert (await drain(database)).behind == {"relay": 2}
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    assert (await drain(database)).behind == {}
    await require_direct(database, "parcels")
    async with database.transaction() as transaction:
        world.outbox.append(transaction, [a_message("c")])
    with pytest.raises(ConfigurationError, match="is read directly"):
        await require_relay(database, "parcels")
    assert (await drain(database)).boundary == (0,) * 17
    await require_relay(database, "parcels")


async def test_l1_another_log_is_refused_until_the_old_one_has_all(
    world: MysqlRelayWorld,
) -> None:
    """Protocol L1: what the old log lacks would be in neither."""
    await world.publish("a")
    with pytest.raises(ConfigurationError, match="does not have"):
        await world.store().attach("another log")
    await world.rewind()
    await world.store().attach("another log")


async def test_l1_another_server_sends_the_last_window_again(
    world: MysqlRelayWorld, database: MysqlDatabase
) -> None:
    """Protocol L1: a restored server may have forgotten positions; inboxes remove the repeats."""
    relay = await world.start()
    await world.publish("a", "b")
    await world.drained()
    await world.stop(relay)
    await database.fetch("UPDATE messaging_outbox_meta SET system_identifier = 'another'")
    await world.store().attach(world.log.log_identity)
    assert await world.lag() == 2
