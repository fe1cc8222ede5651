"""Held records are found by how their key begins: no index takes a key of every length (L4)."""

from __future__ import annotations

from alembic import op

revision = "messaging_0006"
down_revision = "messaging_0005"
branch_labels = None
depends_on = None

DROP = "DROP INDEX IF EXISTS messaging.outbox_held_keys"

# A row of a B-tree has 2,704 bytes at most, and a character up to four.
KEYS = """
CREATE INDEX outbox_held_keys ON messaging.outbox_held (lane, left(aggregateid, 190), seq)
    WHERE state <> 'SKIPPED'
"""
WHOLE_KEYS = """
CREATE INDEX outbox_held_keys ON messaging.outbox_held (lane, aggregateid, seq)
    WHERE state <> 'SKIPPED'
"""


def upgrade() -> None:
    """Replace the index; the older version finds its rows by their lane."""
    run = op.get_bind().exec_driver_sql
    for statement in (DROP, KEYS):
        run(statement)
    run(f"UPDATE messaging.outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Bring the old one back; it has no room for a long key that is held: settle that first."""
    run = op.get_bind().exec_driver_sql
    for statement in (DROP, WHOLE_KEYS):
        run(statement)
    run(f"UPDATE messaging.outbox_meta SET revision = '{down_revision}'")  # noqa: S608 - constant
