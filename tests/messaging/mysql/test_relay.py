"""The relay over MariaDB and MySQL and a log in memory: PostgreSQL's tests of protocol L1 to L6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.messaging.mysql.relay_world import MysqlRelayWorld
from tests.messaging.postgres.test_relay import (
    test_a_commit_of_another_process_is_found_by_the_poll,
    test_everything_arrives_once_and_in_order,
    test_l2_a_run_that_begins_as_the_one_before_it_fails_is_not_written,
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
    test_l4_nothing_is_begun_behind_a_failed_run_while_one_before_it_is_under_way,
    test_l4_one_that_waits_behind_another_cannot_be_resumed,
    test_l4_resumed_records_go_in_order_and_the_key_flows_again,
    test_l4_the_longest_key_is_held_and_resumed_as_any_other,
    test_l4_too_many_refused_records_are_an_outage,
    test_l4_what_is_behind_one_refused_record_stays_held_when_another_is_refused,
)
from tests.messaging.postgres.test_relay_modes import (
    test_i5_what_is_unsent_counts_and_what_is_held_does_not,
    test_l1_a_position_beyond_the_sequence_comes_back,
    test_l1_another_log_is_refused_until_the_old_one_has_all,
    test_l1_on_another_server_a_window_is_sent_again,
    test_l6_a_drain_is_void_once_the_old_way_goes_on,
    test_l6_a_relayed_outbox_is_not_read_directly_before_the_drain,
    test_l6_after_the_drain_the_relay_begins_at_the_boundary,
    test_l6_an_outbox_that_was_read_directly_does_not_feed_a_log,
    test_l6_held_records_keep_an_outbox_from_being_drained,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "test_a_commit_of_another_process_is_found_by_the_poll",
    "test_everything_arrives_once_and_in_order",
    "test_i5_what_is_unsent_counts_and_what_is_held_does_not",
    "test_l1_a_position_beyond_the_sequence_comes_back",
    "test_l1_another_log_is_refused_until_the_old_one_has_all",
    "test_l1_on_another_server_a_window_is_sent_again",
    "test_l2_a_run_that_begins_as_the_one_before_it_fails_is_not_written",
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
    "test_l4_nothing_is_begun_behind_a_failed_run_while_one_before_it_is_under_way",
    "test_l4_one_that_waits_behind_another_cannot_be_resumed",
    "test_l4_resumed_records_go_in_order_and_the_key_flows_again",
    "test_l4_the_longest_key_is_held_and_resumed_as_any_other",
    "test_l4_too_many_refused_records_are_an_outage",
    "test_l4_what_is_behind_one_refused_record_stays_held_when_another_is_refused",
    "test_l6_a_drain_is_void_once_the_old_way_goes_on",
    "test_l6_a_relayed_outbox_is_not_read_directly_before_the_drain",
    "test_l6_after_the_drain_the_relay_begins_at_the_boundary",
    "test_l6_an_outbox_that_was_read_directly_does_not_feed_a_log",
    "test_l6_held_records_keep_an_outbox_from_being_drained",
]


@pytest.fixture
async def world(messaging_database: str) -> AsyncIterator[MysqlRelayWorld]:
    """An empty outbox, and a log that takes values of 1,000 bytes."""
    made = MysqlRelayWorld(messaging_database)
    await made.open()
    made.log.value_bytes_max = 1_000
    yield made
    await made.close()
