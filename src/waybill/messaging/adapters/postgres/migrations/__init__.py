"""Alembic revisions of the `messaging` schema; `migrate.py` runs them, or a host's own Alembic."""
