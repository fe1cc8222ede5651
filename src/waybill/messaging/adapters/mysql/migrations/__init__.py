"""Alembic's folder for messaging's tables on MariaDB and MySQL."""
