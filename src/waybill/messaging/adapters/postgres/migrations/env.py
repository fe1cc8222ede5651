"""Alembic's entry: runs on the connection that `migrate.py` opened, in its transaction."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="messaging",
)
context.run_migrations()
