"""Where a consumer of Kafka has read each partition of its topics (protocol C15)."""

from __future__ import annotations

from alembic import op

revision = "messaging_0004"
down_revision = "messaging_0003"
branch_labels = None
depends_on = None

# `log` tells one cluster and topic from another; `position` is the last offset read.
TABLE = """
CREATE TABLE IF NOT EXISTS messaging.consumer_partition (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    token uuid NOT NULL,
    log text,
    position bigint,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    """Create the table; `roles.grant_access` grants it to its users."""
    run = op.get_bind().exec_driver_sql
    run(TABLE)
    run(f"UPDATE messaging.outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Drop it: on the way back to Kafka consumers start at the beginning, their inbox helps."""
    run = op.get_bind().exec_driver_sql
    run("DROP TABLE messaging.consumer_partition")
    run(f"UPDATE messaging.outbox_meta SET revision = '{down_revision}'")  # noqa: S608 - constant
