"""Alembic revisions of the services' own tables, schema `app`; `migrate.py` runs them."""
