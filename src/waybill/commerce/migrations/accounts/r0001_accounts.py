"""Accounts, their sessions, and the keys that access tokens are signed with.

All of it stands in the schema `private`, which the auditor's role cannot see: it holds password
hashes, addresses and private keys. What anybody else may know of an account is a view.
"""

from alembic import op

from waybill.commerce.migrations import documented

revision = "accounts_0001"
down_revision = None
branch_labels = None
depends_on = None

ACCOUNTS = """
CREATE TABLE private.accounts (
    id uuid PRIMARY KEY,
    email text NOT NULL CONSTRAINT accounts_email_known_once UNIQUE,
    password_hash text NOT NULL,
    roles text[] NOT NULL CONSTRAINT accounts_roles_known
        CHECK (roles <@ ARRAY['customer', 'operator', 'admin']),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""

# A session is a family of refresh tokens, each of which was exchanged for the next.
SESSIONS = """
CREATE TABLE private.sessions (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES private.accounts,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CONSTRAINT sessions_end_reason_known
        CHECK (end_reason IN ('logout', 'reuse')),
    CONSTRAINT sessions_end_has_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
)
"""

SESSIONS_BY_EXPIRY = "CREATE INDEX sessions_by_expiry ON private.sessions (expires_at)"

REFRESH_TOKENS = """
CREATE TABLE private.refresh_tokens (
    hash bytea PRIMARY KEY CONSTRAINT refresh_tokens_hash_is_sha256 CHECK (octet_length(hash) = 32),
    session_id uuid NOT NULL REFERENCES private.sessions ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    used_at timestamptz
)
"""

REFRESH_TOKENS_BY_SESSION = """
CREATE INDEX refresh_tokens_by_session ON private.refresh_tokens (session_id)
"""

SIGNING_KEYS = """
CREATE TABLE private.signing_keys (
    kid text PRIMARY KEY,
    private_key text NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL
)
"""

ACCOUNTS_VIEW = """
CREATE VIEW app.accounts AS SELECT id, roles, version, created_at FROM private.accounts
"""

RIGHTS = (
    "USAGE ON SCHEMA private",
    "SELECT, INSERT ON private.accounts, private.sessions, private.refresh_tokens",
    "UPDATE (password_hash, roles, version, updated_at) ON private.accounts",
    "UPDATE (ended_at, end_reason) ON private.sessions",
    "UPDATE (used_at) ON private.refresh_tokens",
    "DELETE ON private.sessions",
    "SELECT, INSERT, DELETE ON private.signing_keys",
)
"""Of the run-time role: an account is never deleted here, and its address never changed."""


def upgrade() -> None:
    """The tables, the documented views, grants."""
    documented.run(
        [
            "CREATE SCHEMA private",
            ACCOUNTS,
            SESSIONS,
            SESSIONS_BY_EXPIRY,
            REFRESH_TOKENS,
            REFRESH_TOKENS_BY_SESSION,
            SIGNING_KEYS,
            ACCOUNTS_VIEW,
            documented.JSON_OR_NULL,
            documented.UUID_OR_NULL,
            documented.OUTBOX_EVENTS,
            documented.PROCESSED_EVENTS,
        ]
    )
    documented.grant(changing=[])
    config = op.get_context().config
    role = config.attributes["service_role"] if config else None
    if role is not None:
        documented.run(f"GRANT {right} TO {role}" for right in RIGHTS)
