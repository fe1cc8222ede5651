"""A payment is its charge's delivery: one row says what was asked, and what the provider answered.

`app.payments` shows it with its refund's; beside them stands only what neither can tell: how often
an answer was repeated.
"""

from waybill.commerce.migrations import documented

revision = "payment_0002"
down_revision = "payment_0001"
branch_labels = None
depends_on = None

PLACE_LOCK_CLASS = 1_462_846_541
"""Of the advisory locks for payments that are not there yet; the outbox's lanes have another."""

# A tombstone had no delivery: nobody was to be called, and nobody will be.
CARRIED = """
INSERT INTO messaging.deliveries
    (id, kind, key, request, state, outcome, correlation_id, created_at, settled_at)
SELECT gen_random_uuid(), 'charge', p.order_id::text,
       convert_to(jsonb_strip_nulls(jsonb_build_object('orderId', p.order_id, 'paymentId',
           p.payment_id, 'amount', p.amount, 'currency', p.currency))::text, 'UTF8'),
       CASE p.status WHEN 'FAILED' THEN 'REFUSED' WHEN 'PENDING' THEN 'PENDING'
                     ELSE 'DELIVERED' END,
       convert_to(CASE p.status
           WHEN 'FAILED' THEN jsonb_build_object('type', 'Refused', 'reason', p.reason,
               'detail', coalesce(p.detail, ''))::text
           WHEN 'PENDING' THEN NULL
           ELSE '{"type":"Delivered"}'
       END, 'UTF8'),
       p.order_id::text, p.created_at, CASE WHEN p.status <> 'PENDING' THEN p.updated_at END
FROM app.payments p
ON CONFLICT (kind, key) DO NOTHING
"""

# Each outcome is told once; only for a payment of which more was told there is a row.
ANSWERS = """
CREATE TABLE app.payment_answers (
    order_id uuid PRIMARY KEY,
    version bigint NOT NULL
)
"""

PAYMENTS = """
CREATE VIEW app.payments AS
SELECT app.uuid_or_null(c.key) AS order_id, (j.asked ->> 'paymentId')::uuid AS payment_id,
       CASE WHEN c.state = 'REFUSED' THEN 'FAILED'
            WHEN c.state <> 'DELIVERED' THEN 'PENDING'
            WHEN r.id IS NULL THEN 'SUCCEEDED'
            WHEN r.state = 'DELIVERED' THEN 'REFUNDED'
            ELSE 'REFUND_PENDING' END AS status,
       (j.asked ->> 'amount')::numeric(12,2) AS amount,
       (j.asked ->> 'currency')::varchar(3) AS currency,
       w.reason, coalesce(nullif(j.answered ->> 'detail', ''), CASE w.reason
           WHEN 'deadline' THEN 'The order''s deadline passed before it was charged'
           WHEN 'customer_cancelled' THEN 'The order was cancelled before it was charged'
           WHEN 'payment_refused' THEN 'Payment declined by provider'
       END) AS detail,
       (convert_from(r.request, 'UTF8')::jsonb ->> 'refundId')::uuid AS refund_id,
       CASE WHEN r.state = 'DELIVERED' THEN r.settled_at END AS refunded_at,
       coalesce(a.version, CASE WHEN c.state IN ('DELIVERED', 'REFUSED') THEN 1 ELSE 0 END
           + CASE WHEN r.state = 'DELIVERED' THEN 1 ELSE 0 END) AS version,
       c.created_at, greatest(c.created_at, c.settled_at, r.created_at, r.settled_at) AS updated_at,
       c.key
FROM messaging.deliveries c
CROSS JOIN LATERAL (
    SELECT convert_from(c.request, 'UTF8')::jsonb AS asked, CASE WHEN c.state = 'REFUSED'
           THEN convert_from(c.outcome, 'UTF8')::jsonb END AS answered
) AS j
CROSS JOIN LATERAL (
    SELECT CASE WHEN c.state <> 'REFUSED' THEN NULL
        WHEN j.answered ->> 'reason' IN ('deadline', 'expired') THEN 'deadline'
        WHEN j.answered ->> 'reason' IN ('cancelled', 'customer_cancelled')
        THEN 'customer_cancelled'
        ELSE 'payment_refused' END AS reason
) AS w
LEFT JOIN messaging.deliveries r ON r.kind = 'refund' AND r.key = c.key
LEFT JOIN app.payment_answers a ON a.order_id = app.uuid_or_null(c.key)
WHERE c.kind = 'charge'
"""

# A payment that is under way has no status in the documents, and a refunded one did succeed.
PAYMENTS_VIEW = """
CREATE VIEW public.payments AS
SELECT payment_id AS id, order_id, amount,
       (CASE status WHEN 'FAILED' THEN 'FAILED' ELSE 'SUCCEEDED' END)::varchar(32) AS status,
       created_at
FROM app.payments
WHERE status <> 'PENDING' AND amount IS NOT NULL
"""

# Lock, then load (protocol C2): each statement of the function has a snapshot of its own. What is
# not there yet cannot be locked, so its place is: of two first messages about an order, in two
# processes, the second waits, looks again, and finds what the first one left.
LOCK = f"""
CREATE FUNCTION app.lock_payments(order_ids uuid[]) RETURNS SETOF app.payments
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    wanted text[] := order_ids::text[];
    here text[];
BEGIN
    here := ARRAY(SELECT d.key FROM messaging.deliveries d
                  WHERE d.kind = 'charge' AND d.key = ANY (wanted) ORDER BY d.key FOR UPDATE);
    IF cardinality(here) < cardinality(wanted) THEN
        PERFORM pg_advisory_xact_lock({PLACE_LOCK_CLASS}, place.number) FROM (
            SELECT DISTINCT hashtext(each) AS number FROM unnest(wanted) AS each
            WHERE each <> ALL (here) ORDER BY 1
        ) AS place;
        PERFORM FROM messaging.deliveries d
        WHERE d.kind = 'charge' AND d.key = ANY (wanted) ORDER BY d.key FOR UPDATE;
    END IF;
    RETURN QUERY SELECT * FROM app.payments p WHERE p.key = ANY (wanted);
END $$
"""  # noqa: S608 - the only thing put in is a constant

TOLD_MORE = """
INSERT INTO app.payment_answers (order_id, version)
SELECT o.order_id, o.version FROM app.old_payments o JOIN app.payments p USING (order_id)
WHERE o.version <> p.version
"""


def upgrade() -> None:
    """See to it that each payment has its delivery, then show those under the old names."""
    documented.run(
        [
            CARRIED,
            "DROP VIEW public.payments",
            "ALTER TABLE app.payments RENAME TO old_payments",
            ANSWERS,
            PAYMENTS,
            TOLD_MORE,
            "DROP TABLE app.old_payments",
            PAYMENTS_VIEW,
            LOCK,
            documented.OUTBOX_EVENTS,
        ]
    )
    documented.grant(changing=["payment_answers"])
