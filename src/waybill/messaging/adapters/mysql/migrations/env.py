"""Alembic's entry: runs on the connection that `migrate.py` opened."""

from __future__ import annotations

from alembic import context

from waybill.messaging.adapters.mysql.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
