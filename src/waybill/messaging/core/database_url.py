"""What a database's URL says before anybody connects: which technology it is."""

from __future__ import annotations

from urllib.parse import urlsplit

MYSQL_SCHEMES = frozenset({"mysql", "mariadb"})


def is_mysql(url: str) -> bool:
    """Whether it is one of MariaDB or MySQL; else it is PostgreSQL's."""
    return urlsplit(url).scheme in MYSQL_SCHEMES
