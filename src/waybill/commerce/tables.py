"""Names of tables in statements that are the same on every engine but for these."""

from __future__ import annotations

import re

_SCHEMA = re.compile(r"\b(app|messaging|notify|reservation)\.(?=[a-z_]+\b)")
_THEIR_OWN = re.compile(r"\b(lines|key)\b")
"""Columns of ours that are words of MariaDB's and MySQL's own."""


def by_schema(statement: str) -> str:
    """As on PostgreSQL: `app.orders`."""
    return statement


def by_prefix(statement: str) -> str:
    """As on MariaDB and MySQL, where a database is the only schema: `app_orders`."""
    return _THEIR_OWN.sub(r"`\1`", _SCHEMA.sub(r"\1_", statement))
