"""outbox_append tells where it put the messages, so that readers of the process need not ask."""

from __future__ import annotations

from alembic import op

from waybill.messaging.adapters.postgres.migrations.functions import APPEND

revision = "messaging_0002"
down_revision = "messaging_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function; its callers are granted it again by `roles.grant_access`."""
    run = op.get_bind().exec_driver_sql
    # 0001 makes today's function: on new databases this puts the same one in its place.
    run("DROP FUNCTION messaging.outbox_append")
    run(APPEND)
    run("REVOKE ALL ON FUNCTION messaging.outbox_append FROM PUBLIC")
    run(f"UPDATE messaging.outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Nothing: the older version ignores what the function returns."""
    op.get_bind().exec_driver_sql(
        f"UPDATE messaging.outbox_meta SET revision = '{down_revision}'"  # noqa: S608 - constant
    )
