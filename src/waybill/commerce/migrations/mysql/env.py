"""Alembic's environment: runs on the connection that `migrate` hands over."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], version_table="app_schema_version"
)
context.run_migrations()
