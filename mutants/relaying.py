"""Faults of the relay: what stands in the outbox must be in the log, in its order."""

from __future__ import annotations

from mutants.mutant import Mutant

_TESTS = "messaging/postgres/test_relay.py::"
_CRASHES = "messaging/postgres/test_relay_crashes.py::"
_MODES = "messaging/postgres/test_relay_modes.py::"

MUTANTS = (
    Mutant(
        name="position-before-the-acknowledgement",
        fault="the relay's position moves over records as soon as they are read",
        harm="what the broker has not stored when the process dies is never sent",
        file="messaging/runtime/relay_lane.py",
        old="        self.fetched = records[-1].seq\n",
        new="        self.fetched = self.acked = records[-1].seq\n",
        tests=(_TESTS + "test_l3_the_position_passes_acknowledged_records_only",),
    ),
    Mutant(
        name="error-passed-over",
        fault="a record that was not written does not stop its lane",
        harm="a message is lost, or comes behind a later one of its order",
        file="messaging/runtime/relay_lane.py",
        old="            if run.written.error is None:",
        new="            if run.written is not None:",
        tests=(_TESTS + "test_l2_an_error_stops_its_lane_which_is_read_again",),
    ),
    Mutant(
        name="late-run-written-after-an-error",
        fault="a run that the relay chose before an error is written when its turn comes behind it",
        harm="a later event of an order is published before an earlier one",
        file="messaging/runtime/relay.py",
        old="            if lane.gone or lane.stops:\n",
        new="            if lane.gone:\n",
        tests=(_TESTS + "test_l2_a_run_that_begins_as_the_one_before_it_fails_is_not_written",),
    ),
    Mutant(
        name="run-begun-behind-a-failed-one",
        fault="a lane goes on behind a failed run as long as one before it is under way",
        harm="a later event of an order is published before an earlier one",
        file="messaging/runtime/relay_lane.py",
        old="        self.stops = self.stops or written.error is not None\n",
        new="        self.stops = self.runs[0] is ended and written.error is not None\n",
        tests=(
            _TESTS
            + "test_l4_nothing_is_begun_behind_a_failed_run_while_one_before_it_is_under_way",
        ),
    ),
    Mutant(
        name="held-records-forgotten-at-an-error",
        fault="what is held right before a refused record is passed over and not stored",
        harm="events of an order whose first one is held are lost",
        file="messaging/runtime/relay_lane.py",
        old="        self.acked = max([self.acked, *sent, *held])\n",
        new="        self.acked = max([self.acked, *sent])\n",
        tests=(
            _TESTS + "test_l4_what_is_behind_one_refused_record_stays_held_when_another_is_refused",
        ),
    ),
    Mutant(
        name="relay-position-without-token",
        fault="a relay's position is written without a look at its token",
        harm="a process that was frozen moves the position over what its successor sends",
        file="messaging/adapters/postgres/relay_store.py",
        old="    WHERE l.token = $1 AND l.position < n.position\n",
        new="    WHERE $1::uuid IS NOT NULL AND l.position < n.position\n",
        tests=(_TESTS + "test_l3_a_member_that_was_taken_over_moves_nothing",),
    ),
    Mutant(
        name="lost-position-never-noticed",
        fault="a relay takes no note of a position that died with the server",
        harm="an idle lane lags for ever, though all of it was sent",
        file="messaging/runtime/relay_ownership.py",
        old="self._share.taken | self._fallen_back(stored, self._share)",
        new="self._share.taken",
        tests=(_CRASHES + "test_a_position_that_the_server_has_lost_is_stored_again",),
    ),
    Mutant(
        name="held-keys-not-loaded",
        fault="a new owner of a lane does not know what is held",
        harm="a later event of an order is published before an earlier one",
        file="messaging/adapters/postgres/relay_held.py",
        old="        found[row[0]].add(row[1])\n",
        new="        del row\n",
        tests=(_TESTS + "test_l4_a_new_owner_knows_what_is_held",),
    ),
    Mutant(
        name="way-changed-without-drain",
        fault="an outbox that was read directly feeds Kafka from its end on, drained or not",
        harm="messages that a service has not read yet are lost at the change",
        file="messaging/core/relay_start.py",
        old="    if not last_seq:\n",
        new="    if last_seq >= 0:\n",
        tests=(_MODES + "test_l6_an_outbox_that_was_read_directly_does_not_feed_a_log",),
    ),
    Mutant(
        name="retention-ignores-the-relay",
        fault="outbox partitions are dropped though the relay has not sent them",
        harm="a broker that is away for longer than the retention costs messages",
        file="messaging/adapters/postgres/upkeep.py",
        old="sent.position < high.seq",
        new="sent.position < 0",
        tests=(_MODES + "test_o6_retention_waits_for_the_relay",),
    ),
)
