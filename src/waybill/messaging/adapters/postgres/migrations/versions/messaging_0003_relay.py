"""What the relay keeps: its lanes and their positions, its members, records that cannot be sent."""

from __future__ import annotations

from alembic import op

revision = "messaging_0003"
down_revision = "messaging_0002"
branch_labels = None
depends_on = None

# `log`: which one the relay feeds; `system_identifier` and `timeline`: the server on which it last
# stood (protocol L1). `boundary`: how far every reader of the old mode was when `waybill drain`
# looked, by lane + 1; the new mode starts there (protocol L6).
META = """
ALTER TABLE messaging.outbox_meta
    ADD COLUMN IF NOT EXISTS log text,
    ADD COLUMN IF NOT EXISTS system_identifier text,
    ADD COLUMN IF NOT EXISTS timeline integer,
    ADD COLUMN IF NOT EXISTS boundary bigint[] CHECK (cardinality(boundary) = 17),
    ADD COLUMN IF NOT EXISTS drained_at timestamptz
"""

RELAY = (
    # One row a lane, ever: lease and position in one, so that one condition guards both (L3).
    # Each row has a page almost to itself: a position moves twenty times a second.
    """
    CREATE TABLE IF NOT EXISTS messaging.outbox_lane (
        lane smallint PRIMARY KEY CHECK (lane BETWEEN 0 AND 16),
        position bigint NOT NULL DEFAULT 0,
        moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        token uuid,
        lease_until timestamptz
    ) WITH (fillfactor = 10)
    """,
    """
    INSERT INTO messaging.outbox_lane (lane)
    SELECT lane FROM generate_series(0, 16) AS lane ON CONFLICT DO NOTHING
    """,
    # Who shares the lanes: each takes its part of them by its place among those that live.
    """
    CREATE TABLE IF NOT EXISTS messaging.outbox_relay (
        token uuid PRIMARY KEY,
        name text NOT NULL,
        lease_until timestamptz NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50)
    """,
    # HELD: the log refused it. BEHIND: a record of its key that came later. SKIPPED: an operator
    # let it go unsent; it stays for the record. A verdict is a wish; only the lane's owner acts.
    """
    CREATE TABLE IF NOT EXISTS messaging.outbox_held (
        lane smallint NOT NULL,
        seq bigint NOT NULL,
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
        created_at timestamptz NOT NULL,
        state text NOT NULL CHECK (state IN ('HELD', 'BEHIND', 'SKIPPED')),
        reason text NOT NULL,
        held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        verdict text CHECK (verdict IN ('RESUME', 'SKIP')),
        verdict_by text,
        verdict_reason text,
        verdict_at timestamptz,
        PRIMARY KEY (lane, seq)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS outbox_held_keys
        ON messaging.outbox_held (lane, aggregateid, seq) WHERE state <> 'SKIPPED'
    """,
)


def upgrade() -> None:
    """Add the tables; a service's role is granted them by `roles.grant_access`."""
    run = op.get_bind().exec_driver_sql
    for statement in (META, *RELAY):
        run(statement)
    run(f"UPDATE messaging.outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Drop them: positions and held records are gone."""
    run = op.get_bind().exec_driver_sql
    for table in ("outbox_held", "outbox_relay", "outbox_lane"):
        run(f"DROP TABLE messaging.{table}")
    run(f"UPDATE messaging.outbox_meta SET revision = '{down_revision}'")  # noqa: S608 - constant
