"""The saga's four steps as SQL: one statement a step, so that a step costs one round trip.

Each may be repeated: an effect that is there already is left alone. That makes them safe as plain
DBOS steps, which run at least once.
"""

from __future__ import annotations

from typing import Final

RESERVE: Final = """
WITH line AS MATERIALIZED (
    SELECT (value ->> 'productId')::uuid AS product_id, (value ->> 'quantity')::bigint AS quantity
    FROM jsonb_array_elements(%(lines)s::jsonb)
), placed AS (
    INSERT INTO orders VALUES (
        %(order)s, %(customer)s, 'EUR', %(total)s, %(lines)s, 'STOCK_RESERVED', NULL, now(), now()
    ) ON CONFLICT DO NOTHING RETURNING id
), history AS (
    INSERT INTO order_timeline
    SELECT placed.id, entry.seq, entry.event, entry.was, entry.becomes, now()
    FROM placed, (VALUES
        (1, 'OrderCreated', NULL, 'PENDING'), (2, 'StockReserved', 'PENDING', 'STOCK_RESERVED')
    ) AS entry (seq, event, was, becomes)
), held AS (
    INSERT INTO reservations SELECT id, 'RESERVED', %(lines)s::jsonb, now(), now() FROM placed
), locked AS MATERIALIZED (
    SELECT id FROM products WHERE id IN (SELECT product_id FROM line) ORDER BY id
    FOR NO KEY UPDATE
), moved AS (
    UPDATE products AS p
    SET available = available - quantity, reserved = reserved + quantity
    FROM line JOIN locked ON locked.id = line.product_id, placed WHERE p.id = line.product_id
    RETURNING p.id, quantity
)
INSERT INTO stock_ledger
SELECT moved.id, placed.id, 'reserve', -quantity, quantity, 0, now() FROM moved, placed
"""
"""Place the order and take its stock."""

CHARGE: Final = """
WITH charged AS (
    INSERT INTO charges VALUES (%(order)s, %(charge)s, %(total)s, 'EUR', now())
    ON CONFLICT DO NOTHING
)
INSERT INTO payments VALUES (%(order)s, %(charge)s, 'SUCCEEDED', %(total)s, now())
ON CONFLICT DO NOTHING
"""
"""The provider's ledger and our books at once."""

CONFIRM: Final = """
WITH confirmed AS (
    UPDATE orders SET status = 'CONFIRMED', payment_id = %(charge)s, updated_at = now()
    WHERE id = %(order)s AND status = 'STOCK_RESERVED' RETURNING id
), history AS (
    INSERT INTO order_timeline
    SELECT id, 3, 'PaymentSucceeded', 'STOCK_RESERVED', 'CONFIRMED', now() FROM confirmed
), kept AS (
    UPDATE reservations SET status = 'COMMITTED', updated_at = now()
    WHERE order_id = (SELECT id FROM confirmed)
), line AS MATERIALIZED (
    SELECT (value ->> 'productId')::uuid AS product_id, (value ->> 'quantity')::bigint AS quantity
    FROM jsonb_array_elements(%(lines)s::jsonb)
), locked AS MATERIALIZED (
    SELECT id FROM products WHERE id IN (SELECT product_id FROM line) ORDER BY id
    FOR NO KEY UPDATE
), moved AS (
    UPDATE products AS p SET reserved = reserved - quantity, sold = sold + quantity
    FROM line JOIN locked ON locked.id = line.product_id, confirmed WHERE p.id = line.product_id
    RETURNING p.id, quantity
)
INSERT INTO stock_ledger
SELECT moved.id, confirmed.id, 'commit', 0, -quantity, quantity, now() FROM moved, confirmed
"""
"""The order is confirmed and its stock is sold."""

NOTIFY: Final = """
INSERT INTO notifications VALUES (
    %(order)s, 'OrderConfirmed', %(message)s, 'SENT', now()
) ON CONFLICT DO NOTHING
"""

STEPS: Final = {"reserve": RESERVE, "charge": CHARGE, "confirm": CONFIRM, "notify": NOTIFY}
