"""The services' tables: upgrades, the documented views, and what a run-time role may do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.commerce.mariadb_services import MariadbServices
from tests.commerce.support import KEYBOARD, MOUSE, Service, created, lines
from tests.commerce.test_orders_intake import place, request

from waybill.blueprints import choreography
from waybill.commerce.inventory.handlers import InventoryHandler
from waybill.commerce.migrations.migrate import REVISIONS, schema_state, upgrade
from waybill.commerce.orders.intake import OrderFlush
from waybill.messaging.adapters.mysql.migrate import fetch_once
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import TestDatabases

DOCUMENTED = {
    "order": {
        "orders": "id customer_id status total_amount currency idempotency_key created_at "
        "updated_at version",
        "order_items": "id order_id product_id quantity unit_price",
        "idempotency_keys": "key order_id request_hash response_body created_at",
        "outbox_events": "id aggregate_type aggregate_id event_type payload created_at published",
        "processed_events": "event_id processed_at",
    },
    "inventory": {
        "products": "id name stock",
        "reservations": "id order_id product_id quantity status created_at",
        "outbox_events": "id aggregate_type aggregate_id event_type payload created_at published",
        "processed_events": "event_id processed_at",
    },
    "payment": {
        "payments": "id order_id amount status created_at",
        "outbox_events": "id aggregate_type aggregate_id event_type payload created_at published",
        "processed_events": "event_id processed_at",
    },
    "notification": {
        "notifications": "id order_id event_type message created_at",
        "processed_events": "event_id processed_at",
    },
    "provider": {},
    "orchestrator": {
        "outbox_events": "id aggregate_type aggregate_id event_type payload created_at published",
        "processed_events": "event_id processed_at",
    },
}
"""Contracts 1.5."""


COLUMNS = """
SELECT table_name::text, string_agg(column_name::text, ' ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
"""

ROLE = "migrations_test_service"


@pytest.fixture
async def connection(
    databases: TestDatabases, messaging_template: str
) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to a database that has the messaging schema only."""
    name = databases.copy(messaging_template)
    connection = await asyncpg.connect(databases.server.url(name))
    yield connection
    await connection.close()
    databases.drop(name)


async def url_of(connection: asyncpg.Connection, databases: TestDatabases) -> str:
    """The URL that a connection goes to."""
    return databases.server.url(await connection.fetchval("SELECT current_database()"))


@pytest.mark.parametrize("service", REVISIONS)
async def test_an_upgrade_makes_the_documented_views_and_is_repeatable(
    connection: asyncpg.Connection, databases: TestDatabases, service: str
) -> None:
    """R105, R108: from empty to current, again without a change, with the columns of 1.5."""
    url = await url_of(connection, databases)
    assert await schema_state(url, service) == "absent"
    await upgrade(url, service)
    await upgrade(url, service)
    assert await schema_state(url, service) == "current"
    assert dict(await connection.fetch(COLUMNS)) == DOCUMENTED[service]


async def test_tables_of_a_newer_release_are_refused_in_one_line(
    connection: asyncpg.Connection, databases: TestDatabases
) -> None:
    """An older release must not write into tables that it does not know."""
    url = await url_of(connection, databases)
    await upgrade(url, "order")
    await connection.execute("UPDATE app.schema_version SET version_num = 'order_9999'")
    assert await schema_state(url, "order") == "newer"
    with pytest.raises(ConfigurationError, match="newer than this waybill") as error:
        await upgrade(url, "order")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column_is_there", [False, True])
async def test_on_mariadb_a_revision_that_was_cut_short_goes_on(
    mariadb_url: str,
    services_on: dict[str, MariadbServices],
    column_is_there: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """Each ALTER commits there, and its revision's number after it: it may be there already."""
    url = await services_on.setdefault("mariadb", MariadbServices(mariadb_url)).ready("order")
    if not column_is_there:
        await fetch_once(url, "ALTER TABLE app_orders DROP COLUMN correlation_id")
    await fetch_once(url, "UPDATE app_schema_version SET version_num = 'order_mysql_0001'")
    assert await schema_state(url, "order") == "older"
    await upgrade(url, "order")
    assert await schema_state(url, "order") == "current"
    assert not await fetch_once(url, "SELECT correlation_id FROM app_orders")


async def test_an_unknown_service_and_a_strange_role_are_refused(
    connection: asyncpg.Connection, databases: TestDatabases
) -> None:
    """Names that go into statements are checked first."""
    url = await url_of(connection, databases)
    with pytest.raises(ConfigurationError, match="unknown service"):
        await upgrade(url, "billing")
    with pytest.raises(ConfigurationError, match="plain lower-case name"):
        await upgrade(url, "order", service_role="x; DROP TABLE app.orders")


REFUSED = {
    "order": (
        "DELETE FROM app.orders",
        "UPDATE app.orders SET lines = '[]'",
        "UPDATE app.orders SET request_hash = ''",
        "UPDATE app.idempotency_keys SET response = ''",
        "DELETE FROM app.idempotency_keys",
        "TRUNCATE app.orders",
        "ALTER TABLE app.orders ADD COLUMN x int",
        "CREATE TABLE app.x (y int)",
        "CREATE TABLE public.x (y int)",
        "UPDATE public.orders SET currency = 'USD'",
        "DELETE FROM public.outbox_events",
    ),
    "inventory": (
        "UPDATE app.stock_adjustments SET d_available = 0",
        "DELETE FROM app.stock_adjustments",
        "UPDATE app.reservations SET quantities = '[]'",
        "DELETE FROM app.products",
        "DELETE FROM app.reservations",
    ),
    "payment": ("DELETE FROM app.payment_answers", "DELETE FROM messaging.deliveries"),
    "notification": ("DELETE FROM app.notifications", "DROP TABLE personal.contacts"),
    "provider": (
        "UPDATE app.charges SET amount = 0",
        "DELETE FROM app.charges",
        "UPDATE app.refunds SET amount = 0",
        "DELETE FROM app.refunds",
    ),
    "orchestrator": ("DELETE FROM app.sagas", "DROP TABLE app.sagas"),
}


@pytest.mark.parametrize("service", REVISIONS)
async def test_a_run_time_role_reads_the_views_and_can_neither_delete_nor_change_history(
    connection: asyncpg.Connection, databases: TestDatabases, service: str
) -> None:
    """Least privilege: no DDL, no DELETE, and what is append-only stays so."""
    await connection.execute(f"CREATE ROLE {ROLE}")
    try:
        await upgrade(await url_of(connection, databases), service, service_role=ROLE)
        await connection.execute(f"SET ROLE {ROLE}")
        for view in DOCUMENTED[service]:
            await connection.fetch(f"SELECT * FROM public.{view}")  # noqa: S608 - our own names
        for statement in REFUSED[service]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.execute("RESET ROLE")
        await connection.execute(f"DROP OWNED BY {ROLE}")
        await connection.execute(f"DROP ROLE {ROLE}")


async def test_the_documented_views_show_an_order_and_its_event(order: Service) -> None:
    """R108: documented columns over the real rows; `published` follows the readers' reports."""
    flush = OrderFlush(
        order.ports,
        process=choreography.PROCESS,
        deadline=timedelta(minutes=15),
        counters=order.tally,
    )
    await place(flush, request("k-1", *lines((MOUSE, 2, "29.99"), (KEYBOARD, 1, "10"))))
    (shown,) = await order.rows(
        "SELECT id, status, total_amount::text, idempotency_key FROM orders"
    )
    assert shown[1:] == ("PENDING", "69.98", "k-1")
    items = await order.rows(
        "SELECT product_id, quantity, unit_price::text FROM order_items WHERE order_id = $1"
        " ORDER BY product_id",
        shown[0],
    )
    assert items == [(MOUSE, 2, "29.99"), (KEYBOARD, 1, "10.00")]
    keys = "SELECT order_id, response_body->>'status' FROM idempotency_keys WHERE key = 'k-1'"
    assert await order.rows(keys) == [(shown[0], "PENDING")]
    outbox = (
        "SELECT aggregate_type, aggregate_id, payload->>'eventType', published FROM outbox_events"
    )
    assert await order.rows(outbox) == [("Order", shown[0], "OrderCreated", True)]
    report = """
        INSERT INTO messaging.outbox_reader (consumer, topics, start, positions)
        VALUES ('c', '{order-events}', array_fill(0::bigint, ARRAY[17]),
                array_fill($1::bigint, ARRAY[17]))
        ON CONFLICT (consumer) DO UPDATE SET positions = excluded.positions
    """
    for position, published in ((0, False), (await order.last_seq(), True)):
        async with order.database.transaction() as transaction:
            await transaction.execute(report, position)
        assert [row[3] for row in await order.rows(outbox)] == [published]
    relay = """
        WITH mode AS (UPDATE messaging.outbox_meta SET mode = 'relay')
        UPDATE messaging.outbox_lane SET position = $1
    """
    for position, published in ((0, False), (await order.last_seq(), True)):
        async with order.database.transaction() as transaction:
            await transaction.execute(relay, position)
        assert [row[3] for row in await order.rows(outbox)] == [published]


async def test_a_row_that_is_no_json_does_not_break_the_view(order: Service) -> None:
    """An undecodable record in the outbox is shown without a payload."""
    async with order.database.transaction() as transaction:
        await transaction.execute(
            "INSERT INTO messaging.outbox (seq, lane, id, aggregatetype, aggregateid, type,"
            " payload, version, topic, correlation_id, producer, headers, occurred_at)"
            " VALUES (nextval('messaging.outbox_seq'), 0, gen_random_uuid(), '', 'no uuid', 'X',"
            " $1, 1, 't', '', '', '{}', now())",
            b"\xff\x00{",
        )
    assert await order.rows("SELECT aggregate_id, payload FROM outbox_events") == [(None, None)]


async def test_the_seeded_products_are_there_with_their_ledger(inventory: Service) -> None:
    """R109: five products, each unit of them in the ledger."""
    rows = await inventory.rows(
        "SELECT p.name, p.stock, l.kind, l.d_available::int FROM public.products p"
        " JOIN app.stock_ledger l ON l.product_id = p.id ORDER BY p.id"
    )
    assert rows == [
        ("Wireless Mouse", 100, "initial", 100),
        ("Mechanical Keyboard", 50, "initial", 50),
        ("USB-C Hub", 75, "initial", 75),
        ('27" Monitor', 30, "initial", 30),
        ("Laptop Stand", 200, "initial", 200),
    ]


async def test_the_documented_view_shows_a_reservation_an_item(inventory: Service) -> None:
    """Contracts 1.5: one row for each product of the order."""
    ask = created((MOUSE, 2), (KEYBOARD, 1))
    await inventory.handle(InventoryHandler(inventory.tally), [ask])
    rows = await inventory.rows(
        "SELECT product_id, quantity, status FROM public.reservations WHERE order_id = $1"
        " ORDER BY product_id",
        ask.order_id,
    )
    assert rows == [(MOUSE, 2, "RESERVED"), (KEYBOARD, 1, "RESERVED")]
