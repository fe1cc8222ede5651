"""Alembic's environment: runs on the connection that `migrate` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="app",
)
with context.begin_transaction():
    context.run_migrations()
