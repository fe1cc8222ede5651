"""A claim that is not granted as a whole can be an error, so that nothing waits for its answer."""

from __future__ import annotations

from alembic import op

from waybill.messaging.adapters.postgres.migrations.functions import REQUIRE_CLAIM

revision = "messaging_0005"
down_revision = "messaging_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the function; its callers are granted it by `roles.grant_access`."""
    run = op.get_bind().exec_driver_sql
    run(REQUIRE_CLAIM)
    run("REVOKE ALL ON FUNCTION messaging.require_claim FROM PUBLIC")
    run(f"UPDATE messaging.outbox_meta SET revision = '{revision}'")  # noqa: S608 - constant


def downgrade() -> None:
    """Drop it: the older version does not call it."""
    run = op.get_bind().exec_driver_sql
    run("DROP FUNCTION messaging.require_claim")
    run(f"UPDATE messaging.outbox_meta SET revision = '{down_revision}'")  # noqa: S608 - constant
