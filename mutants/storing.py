"""Faults of what stands in PostgreSQL: outbox, reading it, inbox and retention."""

from __future__ import annotations

from mutants.mutant import Mutant

_POSTGRES = "messaging/adapters/postgres/"
_READING = "messaging/reading/"
_FUNCTIONS = _POSTGRES + "migrations/functions.py"
_TESTS = "messaging/postgres/"
_OUTBOX_TESTS = _TESTS + "test_outbox_rules.py::"
_LOG_TESTS = _TESTS + "test_log_rules.py::"

OUTBOX = (
    Mutant(
        name="lane-lock-dropped",
        fault="`outbox_append` does not take the lane's lock",
        harm="a number becomes visible after a higher one was read: the message is never read",
        file=_FUNCTIONS,
        old="        PERFORM pg_advisory_xact_lock({LANE_LOCK_CLASS}, locked);",
        new="        PERFORM {LANE_LOCK_CLASS}, locked;",
        tests=(_OUTBOX_TESTS + "test_second_unit_of_a_lane_waits_and_is_numbered_later",),
    ),
    Mutant(
        name="numbers-before-the-lock",
        fault="sessions keep numbers in reserve, which they drew before they had the lane's lock",
        harm="messages of one order are read in the wrong order, or never",
        file=_POSTGRES + "migrations/versions/messaging_0001_schema.py",
        old="CREATE SEQUENCE messaging.outbox_seq CACHE 1",
        new="CREATE SEQUENCE messaging.outbox_seq CACHE 20",
        tests=(
            _TESTS + "test_contracts.py::TestPostgresOutbox::"
            "test_reader_of_a_lane_never_passes_over_a_message",
        ),
    ),
    Mutant(
        name="numbers-from-the-maximum",
        fault="numbers are the maximum plus one, as an old snapshot sees it",
        harm="units collide on used numbers and fail, the more the busier it is",
        file=_FUNCTIONS,
        old="        SELECT nextval('messaging.outbox_seq'), sorted.place & 31,",
        new="        SELECT (SELECT coalesce(max(seq), 0) FROM messaging.outbox) + sorted.ordinal, "
        "sorted.place & 31,",
        tests=(_OUTBOX_TESTS + "test_old_snapshot_draws_no_used_number",),
    ),
    Mutant(
        name="asynchronous-commit",
        fault="`synchronous_commit` is not raised where it is off",
        harm="a power cut takes orders back that were answered with 201",
        file=_FUNCTIONS,
        old="IN ('off', 'local', 'remote_write') THEN",
        new="IN ('never') THEN",
        tests=(_OUTBOX_TESTS + "test_flush_sets_its_own_limits",),
    ),
    Mutant(
        name="commit-before-the-append",
        fault="COMMIT is sent in front of the append instead of behind it",
        harm="messages are stored after their unit's effects, or not at all",
        file=_POSTGRES + "riding.py",
        old="        before, acted = self._written(), False",
        new="        before, acted = self._written(), self._act() is None",
        tests=(_TESTS + "test_riding.py::test_last_statement_stands_in_its_transaction",),
    ),
    Mutant(
        name="unknown-commit-is-success",
        fault="a COMMIT whose answer was lost is taken for a commit",
        harm="a customer is told of an order that may not exist",
        file=_POSTGRES + "transaction.py",
        old="            raise OutcomeUnknownError(message) from error",
        new="            return",
        tests=(_TESTS + "test_error_rules.py::test_connection_lost_in_commit_is_unknown",),
    ),
    Mutant(
        name="flush-error-forgotten",
        fault="an error of a statement does not doom its unit",
        harm="a handler that swallows an error commits half of its effects, or none, unnoticed",
        file=_POSTGRES + "transaction.py",
        old="        self._failure = meaning\n",
        new="",
        tests=(_TESTS + "test_error_rules.py::test_client_side_error_dooms_as_well",),
    ),
)

READING = (
    Mutant(
        name="position-without-token",
        fault="positions are written without a look at the lease token",
        harm="a process that was frozen for a while moves the position over unread messages",
        file=_POSTGRES + "positions.py",
        old="    WHERE consumer = $1 AND lease_token = $3 AND source = ANY($4::text[])",
        new="    WHERE consumer = $1 AND $3::uuid IS NOT NULL AND source = ANY($4::text[])",
        tests=(_LOG_TESTS + "test_d1_a_frozen_member_fences_and_records_nothing",),
    ),
    Mutant(
        name="fence-without-token",
        fault="the lock that fences other members does not look at the token",
        harm="two processes apply a redrive at the same time",
        file=_POSTGRES + "positions.py",
        old="WHERE consumer = $1 AND lease_token = $2 ORDER BY source FOR UPDATE",
        new="WHERE consumer = $1 AND $2::uuid IS NOT NULL ORDER BY source FOR UPDATE",
        tests=(_LOG_TESTS + "test_d1_a_frozen_member_fences_and_records_nothing",),
    ),
    Mutant(
        name="unexpired-lease-taken",
        fault="a stand-by takes a lease that has not expired",
        harm="processes take the lease from each other all the time; nothing gets done",
        file=_POSTGRES + "positions.py",
        old="  AND (lease_token IS NULL OR lease_until <= clock_timestamp()\n",
        new="  AND (lease_token IS NULL OR lease_until IS NOT NULL\n",
        tests=(
            _TESTS + "test_log_contract.py::TestPostgresOutboxLog::"
            "test_stand_by_takes_over_at_once_after_close",
        ),
    ),
    Mutant(
        name="hand-over-with-a-gap",
        fault="a message that is handed over is accepted though one before it was not read",
        harm="what another process wrote in between is never read",
        file=_READING + "at_hand.py",
        old="            if position < each.before:",
        new="            if position < 0:",
        tests=(
            _TESTS + "test_handing_over.py::test_lane_that_another_process_wrote_is_read_first",
        ),
    ),
    Mutant(
        name="hole-not-looked-for",
        fault="a lane in which something is missing is not looked at while other lanes have rows",
        harm="under load its orders stand still for up to a second",
        file=_READING + "reader.py",
        old="            hinted = self._hinted_at <= now",
        new="            hinted = False",
        tests=(_TESTS + "test_handing_over.py::test_a_busy_process_follows_a_hint_soon",),
    ),
    Mutant(
        name="foreign-topics-not-passed",
        fault="the reader's place does not move over rows of other topics",
        harm="every poll reads the tail again, and retention waits for ever",
        file=_READING + "reader.py",
        old="            self._at_hand.read((lane, seq, id_, record))",
        new="            record is None or self._at_hand.read((lane, seq, id_, record))",
        tests=(_LOG_TESTS + "test_d2_positions_pass_over_foreign_topics_at_most_once_a_second",),
    ),
    Mutant(
        name="restored-source-not-noticed",
        fault="nobody asks whether the row at the position is the one that was read",
        harm="after a producer's database was restored, what it publishes anew is never read",
        file=_POSTGRES + "source.py",
        old="        return bool(rows[0][0] < len(known))",
        new="        return bool(rows[0][0] < 0)",
        tests=(_LOG_TESTS + "test_d6_restored_source_is_read_again_from_its_horizon",),
    ),
    Mutant(
        name="discarded-applied",
        fault="the claim ignores an operator's discard",
        harm="a topic that is read again applies what was discarded",
        file=_POSTGRES + "inbox.py",
        old="          AND letter.verdict IN ('OPEN', 'DISCARDED')",
        new="          AND letter.verdict IN ('OPEN')",
        tests=(
            _TESTS + "test_dead_letters_and_deliveries.py::"
            "test_open_and_discarded_letters_are_not_claimed",
        ),
    ),
)

RETENTION = (
    Mutant(
        name="purge-ignores-sources",
        fault="the inbox is purged by age alone, whatever the sources still hold",
        harm="a source that is read again applies old messages a second time",
        file=_POSTGRES + "inbox.py",
        old="    WHERE processed_at < least(",
        new="    WHERE processed_at < greatest(",
        tests=(_TESTS + "test_inbox_rules.py::test_purge_waits_for_every_source",),
    ),
    Mutant(
        name="retention-ignores-readers",
        fault="outbox partitions are dropped though a reader has not passed them",
        harm="a service that was down for long has lost its messages",
        file=_POSTGRES + "upkeep.py",
        old="WHERE reader.positions[high.lane + 1] < high.seq",
        new="WHERE reader.positions[high.lane + 1] < 0",
        tests=(_TESTS + "test_upkeep.py::test_slow_reader_holds_rows_back",),
    ),
    Mutant(
        name="retention-ignores-age",
        fault="outbox partitions are dropped as soon as they are read",
        harm="an audit, a new subscriber or a rewind finds nothing to read",
        file=_POSTGRES + "upkeep.py",
        old='        return rows[0]["young"], tuple(',
        new="        return False, tuple(",
        tests=(_TESTS + "test_upkeep.py::test_young_rows_stay",),
    ),
)
