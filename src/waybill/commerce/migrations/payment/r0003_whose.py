"""A payment says whose charge it is, where its request does, and what they call the capture."""

from waybill.commerce.migrations import documented

revision = "payment_0003"
down_revision = "payment_0002"
branch_labels = None
depends_on = None

# As before, with two columns behind the others. `reference` is bytes: a provider may name a charge
# by what is no text, and no row may make the view fail.
PAYMENTS = """
CREATE OR REPLACE VIEW app.payments AS
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
       c.key, j.asked ->> 'provider' AS provider, CASE WHEN c.state = 'DELIVERED'
           THEN decode(convert_from(c.outcome, 'UTF8')::jsonb ->> 'result', 'base64')
       END AS reference
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


def upgrade() -> None:
    """Two columns of the view."""
    documented.run([PAYMENTS])
