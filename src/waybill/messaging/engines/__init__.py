"""Which technology a service's database is: chosen by the scheme of its URL, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.database_url import is_mysql
from waybill.messaging.engines.postgres import PostgresEngine

if TYPE_CHECKING:
    from waybill.messaging.engines.port import Engine


def engine_of(url: str) -> Engine:
    """What runs messaging on the database at `url`."""
    if not is_mysql(url):
        return PostgresEngine()
    # Needs the extra `mysql`, which services on PostgreSQL do not have.
    from waybill.messaging.engines.mysql import MysqlEngine  # noqa: PLC0415

    return MysqlEngine()
