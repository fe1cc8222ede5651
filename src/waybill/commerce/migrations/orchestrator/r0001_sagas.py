"""Sagas with their facts and steps in one row, and the order as it was heard of.

No index names a column that changes before a saga is asked about or settles.
"""

from waybill.commerce.migrations import documented

revision = "orchestrator_0001"
down_revision = None
branch_labels = None
depends_on = None

SAGAS = """
CREATE TABLE app.sagas (
    order_id uuid PRIMARY KEY,
    status text NOT NULL
        CONSTRAINT sagas_status_known CHECK (status ~ '^[A-Z][A-Z_]{0,31}$'),
    facts text[] NOT NULL DEFAULT '{}',
    reason text,
    detail text,
    asked jsonb,
    payment_id uuid,
    version bigint NOT NULL DEFAULT 0,
    step_count int NOT NULL DEFAULT 0,
    steps jsonb NOT NULL DEFAULT '[]',
    ask_at timestamptz,
    asks int NOT NULL DEFAULT 0,
    settled_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70)
"""

STEPS = """
CREATE VIEW app.saga_steps AS
SELECT s.order_id, e.seq, e.event, e.from_status, e.to_status, e.at, e.message_id, e.detail
FROM app.sagas s CROSS JOIN LATERAL jsonb_to_recordset(s.steps) AS e (
    seq int, event text, from_status text, to_status text, at timestamptz, message_id uuid,
    detail text
)
"""

COMMANDS = """
CREATE VIEW app.saga_commands AS
SELECT o.id, app.uuid_or_null(o.aggregateid) AS order_id, o.aggregate_version AS seq, o.type,
       app.json_or_null(o.payload) AS payload, o.created_at
FROM messaging.outbox o
WHERE o.aggregatetype = 'Saga' AND o.type <> 'OrderCompleted'
"""
"""What the orchestrator told others to do, for as long as the outbox keeps it."""


def upgrade() -> None:
    """The table, the index of the deadline job, views, grants."""
    documented.run(
        [
            SAGAS,
            "CREATE INDEX sagas_open ON app.sagas (ask_at) WHERE settled_at IS NULL",
            documented.JSON_OR_NULL,
            documented.UUID_OR_NULL,
            STEPS,
            COMMANDS,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
        ]
    )
    documented.grant(changing=["sagas"])
