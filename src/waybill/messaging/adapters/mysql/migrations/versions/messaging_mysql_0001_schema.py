"""All of messaging's tables: an outbox with its readers and relay, and what a consumer keeps.

These servers commit before each CREATE, so every statement may find its work done already.
"""

from __future__ import annotations

from alembic import op

revision = "messaging_mysql_0001"
down_revision = None
branch_labels = ("waybill_messaging_mysql",)
depends_on = None

# Bytes decide, spaces at the end included: a key is no word. What is not indexed may be longer.
NAME = "varchar(255)"
INSTANT = "datetime(6)"
NOW = "datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"

_ENVELOPE = f"""
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload longblob NOT NULL,
    version int NOT NULL,
    aggregate_version bigint,
    topic text NOT NULL,
    correlation_id text NOT NULL,
    causation_id binary(16),
    traceparent text,
    producer text NOT NULL,
    headers longtext NOT NULL,
    occurred_at {INSTANT} NOT NULL
"""

# `seq` is drawn while the message's lane is locked (protocol O1, O5; outbox.py). Rows lie in the
# order in which a lane is read. Not partitioned: such a table keeps the next number a partition,
# and a restart after the newest was dropped could give numbers anew.
OUTBOX = (
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox (
        seq bigint NOT NULL AUTO_INCREMENT,
        lane tinyint NOT NULL,
        id binary(16) NOT NULL,
        {_ENVELOPE},
        created_at {NOW},
        PRIMARY KEY (lane, seq),
        UNIQUE KEY messaging_outbox_seq (seq),
        CONSTRAINT messaging_outbox_lane CHECK (lane BETWEEN 0 AND 16)
    )
    """,
    # Locked by whoever numbers in a lane, and never changed: nothing but its lock matters.
    """
    CREATE TABLE IF NOT EXISTS messaging_outbox_lock (lane tinyint NOT NULL PRIMARY KEY)
    """,
    # `horizon`: the first seq still retained; `horizon_at`: every row created before it is gone.
    # Positions of all lanes are one JSON array: element = lane.
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox_meta (
        single tinyint NOT NULL DEFAULT 1 PRIMARY KEY,
        revision {NAME} NOT NULL,
        mode varchar(10) NOT NULL DEFAULT 'direct',
        horizon bigint NOT NULL DEFAULT 1,
        horizon_at {NOW},
        log {NAME},
        system_identifier {NAME},
        boundary text,
        drained_at {INSTANT},
        CONSTRAINT messaging_outbox_meta_single CHECK (single = 1),
        CONSTRAINT messaging_outbox_meta_mode CHECK (mode IN ('direct', 'relay', 'cdc'))
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox_reader (
        consumer {NAME} NOT NULL PRIMARY KEY,
        topics text NOT NULL,
        start text NOT NULL,
        positions text NOT NULL,
        registered_at {NOW},
        seen_at {NOW}
    )
    """,
)

RELAY = (
    # One row a lane, ever: lease and position in one, so that one condition guards both (L3).
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox_lane (
        lane tinyint NOT NULL PRIMARY KEY,
        position bigint NOT NULL DEFAULT 0,
        moved_at {NOW},
        token binary(16),
        lease_until {INSTANT}
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox_relay (
        token binary(16) NOT NULL PRIMARY KEY,
        name {NAME} NOT NULL,
        lease_until {INSTANT} NOT NULL,
        started_at {NOW}
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_outbox_held (
        lane tinyint NOT NULL,
        seq bigint NOT NULL,
        id binary(16) NOT NULL,
        {_ENVELOPE},
        created_at {INSTANT} NOT NULL,
        state varchar(10) NOT NULL,
        reason text NOT NULL,
        held_at {NOW},
        verdict varchar(10),
        verdict_by text,
        verdict_reason text,
        verdict_at {INSTANT},
        PRIMARY KEY (lane, seq),
        KEY messaging_outbox_held_keys (lane, aggregateid(190), seq),
        KEY messaging_outbox_held_id (id),
        CONSTRAINT messaging_outbox_held_state CHECK (state IN ('HELD', 'BEHIND', 'SKIPPED')),
        CONSTRAINT messaging_outbox_held_verdict CHECK (verdict IN ('RESUME', 'SKIP'))
    )
    """,
)

CONSUMING = (
    # `claim` tells whose insert a row was; `repeats` makes a row that was there count double.
    f"""
    CREATE TABLE IF NOT EXISTS messaging_inbox (
        consumer {NAME} NOT NULL,
        message_id binary(16) NOT NULL,
        claim binary(16) NOT NULL,
        repeats int NOT NULL DEFAULT 0,
        processed_at {NOW},
        PRIMARY KEY (consumer, message_id),
        KEY messaging_inbox_processed_at (processed_at)
    )
    """,
    # One row per (consumer, source): lease, position and last id per lane (protocol D1).
    f"""
    CREATE TABLE IF NOT EXISTS messaging_consumer_source (
        consumer {NAME} NOT NULL,
        source {NAME} NOT NULL,
        topics text NOT NULL,
        lease_token binary(16),
        lease_until {INSTANT},
        positions text,
        last_ids text,
        start text,
        system_identifier {NAME},
        timeline int,
        horizon bigint,
        horizon_at {INSTANT},
        created_at {NOW},
        updated_at {NOW},
        PRIMARY KEY (consumer, source)
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_consumer_partition (
        consumer {NAME} NOT NULL,
        topic {NAME} NOT NULL,
        `partition` int NOT NULL,
        token binary(16) NOT NULL,
        log {NAME},
        position bigint,
        taken_at {NOW},
        updated_at {NOW},
        PRIMARY KEY (consumer, topic, `partition`)
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_dead_letters (
        id binary(16) NOT NULL PRIMARY KEY,
        consumer {NAME} NOT NULL,
        message_id binary(16) NOT NULL,
        source {NAME} NOT NULL,
        topic {NAME} NOT NULL,
        lane int NOT NULL,
        seq bigint NOT NULL,
        `key` text NOT NULL,
        value longblob NOT NULL,
        type text NOT NULL,
        version int NOT NULL,
        aggregate_type text NOT NULL,
        aggregate_version bigint,
        correlation_id text NOT NULL,
        causation_id binary(16),
        traceparent text,
        producer text NOT NULL,
        headers longtext NOT NULL,
        occurred_at {INSTANT} NOT NULL,
        error_type text NOT NULL,
        error_message text NOT NULL,
        stacktrace mediumtext NOT NULL,
        verdict varchar(10) NOT NULL DEFAULT 'OPEN',
        verdict_by text,
        verdict_reason text,
        verdict_at {INSTANT},
        redrives int NOT NULL DEFAULT 0,
        created_at {NOW},
        UNIQUE KEY messaging_dead_letters_message (message_id, consumer),
        KEY messaging_dead_letters_created (consumer, created_at),
        KEY messaging_dead_letters_verdict (consumer, verdict, created_at, id),
        CONSTRAINT messaging_dead_letters_verdicts
            CHECK (verdict IN ('OPEN', 'REDRIVE', 'REDRIVEN', 'DISCARDED'))
    )
    """,
)

OWED = (
    f"""
    CREATE TABLE IF NOT EXISTS messaging_deliveries (
        id binary(16) NOT NULL PRIMARY KEY,
        kind {NAME} NOT NULL,
        `key` {NAME} NOT NULL,
        request longblob NOT NULL,
        state varchar(10) NOT NULL DEFAULT 'PENDING',
        attempts int NOT NULL DEFAULT 0,
        ask_first boolean NOT NULL DEFAULT false,
        cancelled_at {INSTANT},
        not_after {INSTANT},
        next_attempt_at {NOW},
        lease_token binary(16),
        lease_until {INSTANT},
        outcome longblob,
        reason text,
        verdict longblob,
        verdict_by text,
        verdict_reason text,
        verdict_at {INSTANT},
        correlation_id text NOT NULL,
        causation_id binary(16),
        traceparent text,
        repeats int NOT NULL DEFAULT 0,
        created_at {NOW},
        settled_at {INSTANT},
        UNIQUE KEY messaging_deliveries_key (kind, `key`),
        KEY messaging_deliveries_due (kind, state, next_attempt_at),
        CONSTRAINT messaging_deliveries_states
            CHECK (state IN ('PENDING', 'DELIVERED', 'REFUSED', 'PARKED'))
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS messaging_schedule (
        name {NAME} NOT NULL PRIMARY KEY,
        due_at {INSTANT} NOT NULL,
        lease_token binary(16),
        lease_until {INSTANT}
    )
    """,
)

TABLES = (*OUTBOX, *RELAY, *CONSUMING, *OWED)

_LANES = ", ".join(f"({lane})" for lane in range(17))
ROWS = (
    f"messaging_outbox_lock (lane) VALUES {_LANES} ON DUPLICATE KEY UPDATE lane = lane",
    f"messaging_outbox_lane (lane) VALUES {_LANES} ON DUPLICATE KEY UPDATE lane = lane",
    f"messaging_outbox_meta (revision) VALUES ('{revision}') ON DUPLICATE KEY UPDATE single = 1",
)


def upgrade() -> None:
    """Create everything. May be repeated after a failure."""
    run = op.get_bind().exec_driver_sql
    collation = op.get_context().config.attributes["collation"]  # type: ignore[union-attr] # given
    ending = f"ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={collation} ROW_FORMAT=DYNAMIC"
    for statement in TABLES:
        run(f"{statement} {ending}")
    for statement in ROWS:
        run(f"INSERT INTO {statement}")
    run(f"UPDATE messaging_outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Drop every table of ours, messages included."""
    run = op.get_bind().exec_driver_sql
    for statement in TABLES:
        run(f"DROP TABLE {statement.split()[5]}")
