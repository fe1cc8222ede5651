"""Faults of Kafka's ends: runs keep their order, offsets follow the database, it says who reads."""

from __future__ import annotations

from mutants.mutant import Mutant

_WRITER = "kafka/test_writer.py::"
_LOG = "kafka/test_log_contract.py::TestKafkaLog::"
_STARTS = "messaging/test_kafka_starts.py::"
_POSITIONS = "messaging/postgres/test_partition_positions.py::TestPostgresPartitionPositions::"

MUTANTS = (
    Mutant(
        name="waiting-run-outlives-an-error",
        fault="a run that waits for room is written although the one before it has failed",
        harm="a later event of an order is published before an earlier one",
        file="messaging/adapters/kafka/writer.py",
        old="            if later.lane == run.lane and waits:\n",
        new="            if later.lane == run.lane and waits and later.has_begun:\n",
        tests=(_WRITER + "test_a_run_that_waits_ends_with_the_one_before_it",),
    ),
    Mutant(
        name="left-behind-in-any-order",
        fault="runs of a refused batch are sent again in the order of their last reports",
        harm="a later event of an order is published before an earlier one",
        file="messaging/adapters/kafka/writer.py",
        old="            if first is run:\n",
        new="            if first is not None:\n",
        tests=(
            _WRITER
            + "test_runs_that_a_refused_batch_leaves_behind_are_sent_in_the_order_of_their_calls",
        ),
    ),
    Mutant(
        name="firsts-not-alone",
        fault="a new producer sends several batches of a partition at once",
        harm="an event of an order is published although an earlier one was refused",
        file="messaging/adapters/kafka/writer.py",
        old="            if place is not None and firsts.wait(place):\n",
        new="            if place is None and firsts.wait((message.topic, 0)):\n",
        tests=(_WRITER + "test_nothing_goes_past_the_first_record_of_a_producer_if_it_is_refused",),
    ),
    Mutant(
        name="offset-before-the-database",
        fault="a partition counts as read as soon as its batch is begun",
        harm="what the database rolls back is never read again: orders hang",
        file="messaging/adapters/kafka/subscription.py",
        old="        try:\n            return await self._positions.record(",
        new="        await self.acknowledge(positions)\n"
        "        try:\n            return await self._positions.record(",
        tests=(_LOG + "test_rolled_back_batch_comes_again",),
    ),
    Mutant(
        name="group-before-the-database",
        fault="a consumer starts where its group stands, whatever its database says",
        harm="after a restore of the database all that it has forgotten is skipped",
        file="messaging/adapters/kafka/starts.py",
        old="        last = min(last, found.committed - 1)\n",
        new="        last = found.committed - 1\n",
        tests=(_STARTS + "test_c15_the_lower_of_both_and_never_silently_past_a_gap",),
    ),
    Mutant(
        name="partition-without-token",
        fault="a partition's position is written without a look at its token",
        harm="a member that was paused past its session moves the position of its successor",
        file="messaging/adapters/postgres/partition_positions.py",
        old="    WHERE c.consumer = $1 AND c.token = $3\n",
        new="    WHERE c.consumer = $1 AND $3::uuid IS NOT NULL\n",
        tests=(_POSITIONS + "test_who_lost_a_partition_can_store_nothing",),
    ),
)
