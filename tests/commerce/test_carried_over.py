"""Tables that an older release filled are carried over whole: nothing of an order is lost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from waybill.commerce.migrations import migrate
from waybill.messaging.adapters.postgres.migrate import run_migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conftest import TestDatabases

ORDERS = [
    """
    INSERT INTO app.orders SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
        gen_random_uuid(), 'EUR', 10.50 * n, jsonb_build_array(jsonb_build_object('productId', n)),
        CASE WHEN n % 2 = 0 THEN 'CONFIRMED' ELSE 'PENDING' END, '{}', NULL, NULL, NULL, 2, 1,
        now(), now(), 0, now(), 'scope', 'POST /api/orders', 'key-' || n, now(), now()
    FROM generate_series(1, 300) AS n
    """,
    """
    INSERT INTO app.order_timeline SELECT o.id, step.seq, step.event, step.here, step.there,
        now() - interval '1 h' + step.seq * interval '1.000001 s',
        CASE WHEN step.seq > 1 THEN gen_random_uuid() END, step.detail
    FROM app.orders o, (VALUES
        (1, 'OrderCreated', NULL, 'PENDING', NULL),
        (2, 'PaymentSucceeded', 'PENDING', NULL, E'the \\u00fc "detail"'),
        (3, 'StockReserved', 'PENDING', 'CONFIRMED', NULL)
    ) AS step (seq, event, here, there, detail) WHERE step.seq = 1 OR o.status = 'CONFIRMED'
    """,
    """
    INSERT INTO app.idempotency_keys SELECT scope, route, idempotency_key, id, md5(id::text),
        convert_to('{"id":"' || id || '"}', 'UTF8'), created_at FROM app.orders
    """,
]

# A refused order, a reserved one, a released one, a sold one; each of two products but the first.
STOCK = [
    """
    INSERT INTO app.reservations SELECT
        ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
        (ARRAY['REJECTED', 'RESERVED', 'RELEASED', 'COMMITTED'])[n % 4 + 1],
        jsonb_build_array(jsonb_build_object('productId', gen_random_uuid(), 'quantity', n)),
        NULL, NULL, 1, now(), now()
    FROM generate_series(1, 300) AS n
    """,
    """
    INSERT INTO app.stock_ledger SELECT p.id, r.order_id, kind.kind, n.n * kind.a, n.n * kind.r,
        n.n * kind.s, now() + kind.later * interval '1.000001 s', kind.cause
    FROM (SELECT order_id, status, row_number() OVER (ORDER BY order_id) AS n
          FROM app.reservations) AS n
    JOIN app.reservations r USING (order_id)
    CROSS JOIN (SELECT id FROM app.products ORDER BY id LIMIT 2) AS p
    JOIN (VALUES ('reserve', -1, 1, 0, 0, gen_random_uuid()),
                 ('release', 1, -1, 0, 1, NULL), ('commit', 0, -1, 1, 1, gen_random_uuid())
    ) AS kind (kind, a, r, s, later, cause) ON r.status <> 'REJECTED' AND (
        kind.kind = 'reserve'
        OR (kind.kind, r.status) IN (('release', 'RELEASED'), ('commit', 'COMMITTED'))
    )
    """,
]

# Half of them have lost their delivery.
NOTIFICATIONS = [
    """
    INSERT INTO app.notifications SELECT gen_random_uuid(), 'OrderConfirmed', 'The text ' || n,
        (ARRAY['SENT', 'PENDING', 'FAILED'])[n % 3 + 1],
        CASE WHEN n % 3 = 2 THEN 'No such mailbox' END, now() - n * interval '1.000001 s', now()
    FROM generate_series(1, 300) AS n
    """,
    """
    INSERT INTO messaging.deliveries (id, kind, key, request, state, outcome, correlation_id,
        created_at, settled_at)
    SELECT gen_random_uuid(), 'email', order_id || ':' || kind, convert_to(jsonb_build_object(
            'text', message)::text, 'UTF8'),
        (ARRAY['DELIVERED', 'PENDING', 'REFUSED'])[n % 3 + 1], convert_to(
            (ARRAY['{"type":"Delivered"}', NULL, '{"reason":"no","detail":"No such mailbox"}']
        )[n % 3 + 1], 'UTF8'), 'c', created_at, CASE WHEN n % 3 <> 1 THEN updated_at END
    FROM (SELECT *, substr(message, 10)::int AS n FROM app.notifications) AS n WHERE n % 2 = 0
    """,
]

# Paid and answered twice, under way, refused, refunded, and a tombstone that never had a delivery.
PAYMENTS = [
    """
    INSERT INTO app.payments SELECT gen_random_uuid(), gen_random_uuid(), kind.status,
        CASE WHEN kind.n < 5 THEN 10.50 * g END, CASE WHEN kind.n < 5 THEN 'EUR' END, kind.reason,
        kind.detail, CASE WHEN kind.n = 4 THEN gen_random_uuid() END,
        CASE WHEN kind.n = 4 THEN now() - interval '1 h' END, kind.version,
        now() - g * interval '1.000001 s', now()
    FROM generate_series(1, 60) AS g, (VALUES
        (1, 'SUCCEEDED', NULL, NULL, 2), (2, 'PENDING', NULL, NULL, 0),
        (3, 'FAILED', 'payment_refused', 'Payment declined by provider', 1),
        (4, 'REFUNDED', NULL, NULL, 2), (5, 'FAILED', 'customer_cancelled', 'Cancelled so', 1)
    ) AS kind (n, status, reason, detail, version)
    """,
    """
    INSERT INTO messaging.deliveries (id, kind, key, request, state, outcome, correlation_id,
        created_at, settled_at)
    SELECT gen_random_uuid(), 'charge', order_id, convert_to(json_build_object('orderId', order_id,
            'paymentId', payment_id, 'amount', amount, 'currency', currency)::text, 'UTF8'),
        CASE status WHEN 'PENDING' THEN 'PENDING' WHEN 'FAILED' THEN 'REFUSED' ELSE 'DELIVERED' END,
        CASE status WHEN 'FAILED'
        THEN '{"type":"Refused","reason":"declined","detail":""}' END::bytea,
        'c', created_at, now()
    FROM app.payments WHERE amount IS NOT NULL
    """,
    """
    INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id, settled_at)
    SELECT gen_random_uuid(), 'refund', order_id, convert_to(json_build_object('refundId',
        refund_id)::text, 'UTF8'), 'DELIVERED', 'c', refunded_at
    FROM app.payments WHERE status = 'REFUNDED'
    """,
]

CARRIED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "order": (
        ORDERS,
        (
            "SELECT * FROM app.order_timeline ORDER BY order_id, seq",
            "SELECT * FROM app.idempotency_keys ORDER BY order_id",
            "SELECT * FROM public.idempotency_keys ORDER BY order_id",
            "SELECT * FROM public.orders ORDER BY id",
        ),
    ),
    "inventory": (
        STOCK,
        (
            "SELECT * FROM app.stock_ledger ORDER BY order_id, product_id, at, kind",
            "SELECT * FROM public.reservations ORDER BY id",
        ),
    ),
    "notification": (
        NOTIFICATIONS,
        (
            """
            SELECT order_id, kind, message, status, detail, created_at FROM app.notifications
            ORDER BY order_id
            """,
            "SELECT * FROM public.notifications ORDER BY id",
        ),
    ),
    "payment": (
        PAYMENTS,
        (
            """
            SELECT order_id, payment_id, status, amount, currency, reason, detail, refund_id,
                   refunded_at, version, created_at FROM app.payments ORDER BY order_id
            """,
            "SELECT * FROM public.payments ORDER BY id",
        ),
    ),
}
"""What fills the tables of the first revision, and questions whose answers stay the same."""

Url = str


@pytest.fixture
async def old(
    databases: TestDatabases, messaging_template: str
) -> AsyncIterator[Callable[[str], Any]]:
    """Opens a database with the tables of a service's first revision."""
    opened: list[tuple[str, asyncpg.Connection]] = []

    async def open_(service: str) -> tuple[Url, asyncpg.Connection]:
        name = databases.copy(messaging_template)
        url = databases.server.url(name)
        first = migrate.REVISIONS[service][0]
        run = partial(migrate._run, service=service, service_role=None, revision=first)
        await run_migrations(url, "app", run)
        connection = await asyncpg.connect(url)
        opened.append((name, connection))
        return url, connection

    yield open_
    for name, connection in opened:
        await connection.close()
        databases.drop(name)


@pytest.mark.parametrize("service", CARRIED)
async def test_an_upgrade_carries_what_was_there_over(
    old: Callable[[str], Any], service: str
) -> None:
    """Every row that the old tables showed is shown by the new ones, to the microsecond."""
    url, connection = await old(service)
    filling, questions = CARRIED[service]
    for statement in filling:
        await connection.execute(statement)
    before = [[tuple(row) for row in await connection.fetch(each)] for each in questions]
    assert all(len(rows) > 100 for rows in before)
    await migrate.upgrade(url, service)
    for question, rows in zip(questions, before, strict=True):
        assert [tuple(row) for row in await connection.fetch(question)] == rows, question
