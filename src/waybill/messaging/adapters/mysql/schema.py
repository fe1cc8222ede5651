"""Names and revisions of messaging's tables in a database of MariaDB or MySQL.

Both call a database a schema, so ours are known by their prefix: they stand beside the user's own.
"""

from __future__ import annotations

KNOWN_REVISIONS = ("messaging_mysql_0001",)
"""Every revision that this version can read, oldest first."""

HEAD_REVISION = KNOWN_REVISIONS[-1]

VERSION_TABLE = "messaging_schema_version"
"""Alembic's; `messaging_outbox_meta` has the revision, too, and is what we read."""

KEY_CHARS_MAX = 255
"""Longest key, type, topic or name: what an index of these servers takes of utf8mb4."""
