"""The whole `messaging` schema: outbox, its readers, inbox, dead letters, deliveries, schedule."""

from __future__ import annotations

from alembic import op

from waybill.messaging.adapters.postgres.migrations.functions import FUNCTIONS
from waybill.messaging.adapters.postgres.schema import DEFAULT_PARTITION_ROWS

revision = "messaging_0001"
down_revision = None
branch_labels = ("waybill_messaging",)
depends_on = None

# No DEFAULT partition, ever (protocol O6): a row that fits nowhere is an error that heals.
OUTBOX = (
    "CREATE SCHEMA IF NOT EXISTS messaging",
    "CREATE SEQUENCE messaging.outbox_seq CACHE 1",
    """
    CREATE TABLE messaging.outbox (
        seq bigint NOT NULL,
        lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 16),
        id uuid NOT NULL,
        aggregatetype text NOT NULL,
        aggregateid text NOT NULL,
        type text NOT NULL,
        payload bytea NOT NULL,
        version integer NOT NULL,
        aggregate_version bigint,
        topic text NOT NULL,
        correlation_id text NOT NULL,
        causation_id uuid,
        traceparent text,
        producer text NOT NULL,
        headers text NOT NULL,
        occurred_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (lane, seq)
    ) PARTITION BY RANGE (seq)
    """,
    # `horizon`: the first seq still retained; `horizon_at`: every row created before it is gone.
    # `detaching`: upkeep is dropping the rows below this seq right now.
    """
    CREATE TABLE messaging.outbox_meta (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        revision text NOT NULL,
        mode text NOT NULL DEFAULT 'direct' CHECK (mode IN ('direct', 'relay', 'cdc')),
        horizon bigint NOT NULL DEFAULT 1,
        horizon_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        detaching bigint
    )
    """,
    # Arrays of 17: element lane + 1.
    """
    CREATE TABLE messaging.outbox_reader (
        consumer text PRIMARY KEY,
        topics text[] NOT NULL,
        start bigint[] NOT NULL CHECK (cardinality(start) = 17),
        positions bigint[] NOT NULL CHECK (cardinality(positions) = 17),
        registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50)
    """,
)

CONSUMING = (
    # Never partitioned by time (protocol C12): the same id could be claimed twice.
    """
    CREATE TABLE messaging.inbox (
        consumer text NOT NULL,
        message_id uuid NOT NULL,
        processed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (consumer, message_id)
    )
    """,
    "CREATE INDEX inbox_processed_at ON messaging.inbox USING brin (processed_at)",
    # One row per (consumer, source): lease, position and last id per lane (protocol D1).
    """
    CREATE TABLE messaging.consumer_source (
        consumer text NOT NULL,
        source text NOT NULL,
        topics text[] NOT NULL DEFAULT '{}',
        lease_token uuid,
        lease_until timestamptz,
        positions bigint[] CHECK (cardinality(positions) = 17),
        last_ids uuid[] CHECK (cardinality(last_ids) = 17),
        start bigint[] CHECK (cardinality(start) = 17),
        system_identifier text,
        timeline integer,
        horizon bigint,
        horizon_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (consumer, source)
    ) WITH (fillfactor = 50)
    """,
    # No index begins with the consumer: a generic plan that was made while the table was empty
    # would take it for the inbox's question, and read every letter of the consumer at each batch.
    """
    CREATE TABLE messaging.dead_letters (
        id uuid PRIMARY KEY,
        consumer text NOT NULL,
        message_id uuid NOT NULL,
        source text NOT NULL,
        topic text NOT NULL,
        lane integer NOT NULL,
        seq bigint NOT NULL,
        key text NOT NULL,
        value bytea NOT NULL,
        type text NOT NULL,
        version integer NOT NULL,
        aggregate_type text NOT NULL,
        aggregate_version bigint,
        correlation_id text NOT NULL,
        causation_id uuid,
        traceparent text,
        producer text NOT NULL,
        headers text NOT NULL,
        occurred_at timestamptz NOT NULL,
        error_type text NOT NULL,
        error_message text NOT NULL,
        stacktrace text NOT NULL,
        verdict text NOT NULL DEFAULT 'OPEN'
            CHECK (verdict IN ('OPEN', 'REDRIVE', 'REDRIVEN', 'DISCARDED')),
        verdict_by text,
        verdict_reason text,
        verdict_at timestamptz,
        redrives integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (message_id, consumer)
    )
    """,
    "CREATE INDEX dead_letters_created ON messaging.dead_letters (created_at)",
    """
    CREATE INDEX dead_letters_redrive ON messaging.dead_letters (created_at, id)
        WHERE verdict = 'REDRIVE'
    """,
    "CREATE INDEX dead_letters_open ON messaging.dead_letters (created_at) WHERE verdict = 'OPEN'",
)

OWED = (
    """
    CREATE TABLE messaging.deliveries (
        id uuid PRIMARY KEY,
        kind text NOT NULL,
        key text NOT NULL,
        request bytea NOT NULL,
        state text NOT NULL DEFAULT 'PENDING'
            CHECK (state IN ('PENDING', 'DELIVERED', 'REFUSED', 'PARKED')),
        attempts integer NOT NULL DEFAULT 0,
        ask_first boolean NOT NULL DEFAULT false,
        cancelled_at timestamptz,
        not_after timestamptz,
        next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        lease_token uuid,
        lease_until timestamptz,
        outcome bytea,
        reason text,
        verdict bytea,
        verdict_by text,
        verdict_reason text,
        verdict_at timestamptz,
        correlation_id text NOT NULL,
        causation_id uuid,
        traceparent text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        settled_at timestamptz,
        UNIQUE (kind, key)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE INDEX deliveries_due ON messaging.deliveries (kind, next_attempt_at)
        WHERE state = 'PENDING'
    """,
    "CREATE INDEX deliveries_parked ON messaging.deliveries (kind, key) WHERE state = 'PARKED'",
    """
    CREATE TABLE messaging.schedule (
        name text PRIMARY KEY,
        due_at timestamptz NOT NULL,
        lease_token uuid,
        lease_until timestamptz
    )
    """,
)


def upgrade() -> None:
    """Create everything; raw statements, one at a time, as asyncpg prepares each."""
    run = op.get_bind().exec_driver_sql
    for statement in (*OUTBOX, *CONSUMING, *OWED, *FUNCTIONS):
        run(statement)
    run(f"INSERT INTO messaging.outbox_meta (revision) VALUES ('{revision}')")  # noqa: S608 - constant
    config = op.get_context().config
    rows = config.attributes.get("partition_rows", DEFAULT_PARTITION_ROWS) if config else None
    rows = int(rows or DEFAULT_PARTITION_ROWS)
    for lower in (1, 1 + rows, 1 + 2 * rows):
        run(
            f"CREATE TABLE messaging.outbox_{lower} PARTITION OF messaging.outbox "
            f"FOR VALUES FROM ({lower}) TO ({lower + rows})"
        )


def downgrade() -> None:
    """Drop the schema with everything in it, messages included."""
    op.get_bind().exec_driver_sql("DROP SCHEMA messaging CASCADE")
