-- Confirmed orders as a real run would have left them: `:count` of them, in sections by database.
-- PostgreSQL 18 (crc32). One id a kind of thing and number, the same in every database: 0 order,
-- 1 OrderCreated, 2 StockReserved, 3 PaymentSucceeded, 4 OrderConfirmed, 5 payment, 6 delivery,
-- 7 charge.

-- section: ids
CREATE FUNCTION pg_temp.id(kind int, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT ('01a10000-' || lpad(to_hex(kind), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0')
           )::uuid
$$;

-- section: append
CREATE FUNCTION pg_temp.lines() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '[{"productId": "11111111-1111-1111-1111-111111111111", "quantity": 1, "unitPrice": 29.99}, '
        || '{"productId": "22222222-2222-2222-2222-222222222222", "quantity": 2, "unitPrice": 5.25}]'
$$;
CREATE FUNCTION pg_temp.body() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT ',"customerId":"aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa","items":' || pg_temp.lines()
        || ',"totalAmount":40.49,"currency":"EUR"'
$$;
CREATE FUNCTION pg_temp.append(
    n bigint, kind int, topic text, type text, aggregate text, version int, cause int,
    producer text, payload text
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO messaging.outbox (seq, lane, id, aggregatetype, aggregateid, type, payload,
        version, aggregate_version, topic, correlation_id, causation_id, traceparent, producer,
        headers, occurred_at)
    SELECT nextval('messaging.outbox_seq'), crc32(convert_to(pg_temp.id(0, n)::text, 'UTF8')) % 16,
        pg_temp.id(kind, n), aggregate, pg_temp.id(0, n)::text, type,
        convert_to('{"eventId":"' || pg_temp.id(kind, n) || '","eventType":"' || type
            || '","occurredAt":"2026-11-21T16:50:01.250000Z","correlationId":"' || pg_temp.id(0, n)
            || '","causationId":null,"version":1,"payload":{"orderId":"' || pg_temp.id(0, n) || '"'
            || payload || '}}', 'UTF8'),
        1, version, topic, pg_temp.id(0, n)::text,
        CASE WHEN cause > 0 THEN pg_temp.id(cause, n) END,
        '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', producer, '{}', now()
$$;

-- section: order
INSERT INTO app.orders SELECT pg_temp.id(0, n), 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa', 'EUR', 40.49, pg_temp.lines()::jsonb, 'CONFIRMED',
    '{PaymentSucceeded,StockReserved}', NULL, NULL, pg_temp.id(5, n), 2, 3,
    now() + interval '15 min', now(), 0, now(), '', 'POST /api/orders', 'key-' || n, now(),
    now(), (
        SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('seq', step.seq, 'event', step.event,
            'from_status', step.here, 'to_status', step.there, 'at', now(), 'message_id',
            CASE WHEN step.kind > 0 THEN pg_temp.id(step.kind, n) END)) ORDER BY step.seq)
        FROM (VALUES
            (1, 'OrderCreated', NULL, 'PENDING', 0),
            (2, 'StockReserved', 'PENDING', 'STOCK_RESERVED', 2),
            (3, 'PaymentSucceeded', 'STOCK_RESERVED', 'CONFIRMED', 3)
        ) AS step (seq, event, here, there, kind)
    ), repeat('0', 64), convert_to('{"id":"' || pg_temp.id(0, n) || '"' || pg_temp.body() || '}', 'UTF8')
    FROM generate_series(1, :count) AS n;
SELECT pg_temp.append(n, 1, 'order-events', 'OrderCreated', 'Order', 1, 0,
    'order-service', pg_temp.body()) FROM generate_series(1, :count) AS n;
SELECT pg_temp.append(n, 4, 'order-events', 'OrderConfirmed', 'Order', 2, 3,
    'order-service', '') FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'order-service', pg_temp.id(2, n), now()
    FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'order-service', pg_temp.id(3, n), now()
    FROM generate_series(1, :count) AS n;

-- section: inventory
INSERT INTO app.reservations SELECT pg_temp.id(0, n), 'COMMITTED', '[]', NULL, NULL, 1, now(), now(), (
        SELECT jsonb_agg(jsonb_build_object('kind', move.kind, 'at', now(), 'message_id', pg_temp.id(move.cause, n),
            'units', (
                SELECT jsonb_agg(jsonb_build_array(line.id, line.quantity * move.a, line.quantity * move.r,
                    line.quantity * move.s))
                FROM (VALUES ('11111111-1111-1111-1111-111111111111', 1),
                    ('22222222-2222-2222-2222-222222222222', 2)) AS line (id, quantity)
            )) ORDER BY move.kind DESC)
        FROM (VALUES ('reserve', -1, 1, 0, 1), ('commit', 0, -1, 1, 4)) AS move (kind, a, r, s, cause)
    ) FROM generate_series(1, :count) AS n;
INSERT INTO app.stock_adjustments SELECT id, 'adjust', 1000000000, now() FROM app.products;
UPDATE app.products p SET available = l.a, reserved = l.r, sold = l.s FROM (SELECT product_id,
    sum(d_available) AS a, sum(d_reserved) AS r, sum(d_sold) AS s FROM app.stock_ledger
    GROUP BY product_id) AS l WHERE l.product_id = p.id;
SELECT pg_temp.append(n, 2, 'inventory-events', 'StockReserved', 'Inventory', 1,
    1, 'inventory-service', pg_temp.body()) FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'inventory-service', pg_temp.id(1, n), now()
    FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'inventory-service', pg_temp.id(4, n), now()
    FROM generate_series(1, :count) AS n;

-- section: payment
INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id,
    causation_id, settled_at) SELECT pg_temp.id(6, n), 'charge', pg_temp.id(0, n)::text,
    convert_to('{"paymentId":"' || pg_temp.id(5, n) || '","amount":40.49,"currency":"EUR"}', 'UTF8'), 'DELIVERED',
    pg_temp.id(0, n)::text, pg_temp.id(2, n), now() FROM generate_series(1, :count) AS n;
SELECT pg_temp.append(n, 3, 'payment-events', 'PaymentSucceeded', 'Payment', 1,
    2, 'payment-service', ',"amount":40.49') FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'payment-service', pg_temp.id(2, n), now()
    FROM generate_series(1, :count) AS n;

-- section: provider
INSERT INTO app.charges SELECT pg_temp.id(0, n)::text, pg_temp.id(7, n), pg_temp.id(0, n), 40.49, 'EUR',
    'CAPTURED', now() FROM generate_series(1, :count) AS n;

-- section: notification
INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id,
    causation_id, settled_at) SELECT pg_temp.id(6, n), 'email', pg_temp.id(0, n) || ':OrderConfirmed', '{"text":"Thank you"}', 'DELIVERED',
    pg_temp.id(0, n)::text, pg_temp.id(4, n), now() FROM generate_series(1, :count) AS n;
INSERT INTO messaging.inbox SELECT 'notification-service', pg_temp.id(4, n), now()
    FROM generate_series(1, :count) AS n;
