"""The services' stores on each engine: the same behaviour, in that engine's SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill.commerce.inventory import store as stock
from waybill.commerce.inventory import store_mysql as stock_mysql
from waybill.commerce.notifications import store as notifications
from waybill.commerce.notifications import store_mysql as notifications_mysql
from waybill.commerce.orders import store as orders
from waybill.commerce.orders import store_mysql as orders_mysql
from waybill.messaging.core.database_url import is_mysql

if TYPE_CHECKING:
    from waybill.commerce.inventory.ports import StockStore
    from waybill.commerce.orders.ports import OrderStore


@dataclass(frozen=True)
class Stores:
    """One engine's. `notifications_of_order` and `unsettled` are statements.

    `unsettled` counts what is open in a table and gives the age of the oldest in seconds;
    `before_unsettled` goes ahead of it in its transaction.
    """

    orders: OrderStore
    stock: StockStore
    notifications_of_order: str
    unsettled: str
    before_unsettled: str


# By the index of open orders: a sequential scan would read every order that ever was.
_INDEX_ONLY = "SELECT set_config('enable_seqscan', 'off', true)"
_UNSETTLED = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
FROM app.{} WHERE settled_at IS NULL
"""
_MYSQL_UNSETTLED = """
SELECT count(*), coalesce(timestampdiff(MICROSECOND, min(created_at), NOW(6)), 0) / 1000000e0
FROM app_{} WHERE settled_at IS NULL
"""

POSTGRES = Stores(orders, stock, notifications.OF_ORDER, _UNSETTLED, _INDEX_ONLY)
MYSQL = Stores(
    orders_mysql, stock_mysql, notifications_mysql.OF_ORDER, _MYSQL_UNSETTLED, "SELECT 1"
)


def stores_of(url: str) -> Stores:
    """Those for the database at `url`."""
    return MYSQL if is_mysql(url) else POSTGRES
