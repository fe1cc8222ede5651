"""Customers' addresses, in a schema that neither the auditor nor a reader may look into (C38)."""

from alembic import op

from waybill.commerce.migrations import documented

revision = "notification_0003"
down_revision = "notification_0002"
branch_labels = None
depends_on = None

CONTACTS = """
CREATE TABLE personal.contacts (
    user_id text PRIMARY KEY CONSTRAINT contacts_user_id_short
        CHECK (user_id <> '' AND char_length(user_id) <= 64),
    email text NOT NULL CONSTRAINT contacts_email_short CHECK (char_length(email) <= 254),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""


def upgrade() -> None:
    """The schema and its table. To erase a person is the run-time role's one right to delete."""
    documented.run(["CREATE SCHEMA personal", CONTACTS])
    config = op.get_context().config
    role = config.attributes["service_role"] if config else None
    if role is not None:
        documented.run(
            [
                f"GRANT USAGE ON SCHEMA personal TO {role}",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON personal.contacts TO {role}",
            ]
        )
