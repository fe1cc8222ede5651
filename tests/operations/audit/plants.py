"""One lie at a time: how each invariant is broken by SQL, and what the audit must name.

`{victim}` is what the `victim` query gives in the plant's first database; the violated rule's rows
must hold it. `also` are rules that the same lie breaks whatever one does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Facts may arrive in any order; this one's came as most do: stock, then payment.
CONFIRMED = """
SELECT o.id FROM app.orders o JOIN app.order_timeline t ON t.order_id = o.id AND t.seq = 2
WHERE o.status = 'CONFIRMED' AND o.timeline_seq = 3 AND t.event = 'StockReserved'
ORDER BY o.id LIMIT 1
"""
REFUNDED = """
SELECT order_id FROM app.payments WHERE status = 'REFUNDED' ORDER BY order_id LIMIT 1
"""
OUT_OF_STOCK = "SELECT id FROM app.orders WHERE reason = 'stock_unavailable' ORDER BY id LIMIT 1"
PAID = "SELECT order_id FROM app.payments WHERE status = 'SUCCEEDED' ORDER BY order_id LIMIT 1"
# A row of the middle of its lane: nobody's position depends on it.
INNER = """
SELECT aggregateid FROM messaging.outbox o WHERE type = '{type}' AND EXISTS (
    SELECT FROM messaging.outbox p WHERE p.lane = o.lane AND p.seq > o.seq
) ORDER BY seq LIMIT 1
"""
LETTER = "SELECT message_id FROM messaging.dead_letters WHERE verdict = '{verdict}'"


@dataclass(frozen=True)
class Plant:
    """See the module. `sql` by database, in the order in which it is run."""

    rule: str
    what: str
    victim: str
    sql: dict[str, list[str]]
    also: frozenset[str] = field(default_factory=frozenset)

    @property
    def databases(self) -> list[str]:
        """Those that it lies in."""
        return [service for service, statements in self.sql.items() if statements]

    def __str__(self) -> str:
        return f"{self.rule}-{self.what.replace(' ', '-')}"


def plant(rule: str, what: str, victim: str, also: str = "", **sql: list[str] | str) -> Plant:
    """A plant; `sql` by database."""
    lists = {name: [text] if isinstance(text, str) else text for name, text in sql.items()}
    return Plant(rule, what, victim, lists, frozenset(also.split()))


def timeline(where: str, change: str = "e.entry") -> str:
    """The SQL that leaves of the timeline the entries `e.entry` that are `where`, changed."""
    return (
        f"UPDATE app.orders SET timeline = coalesce((SELECT jsonb_agg({change} ORDER BY e.place) "  # noqa: S608 - our own
        "FROM jsonb_array_elements(timeline) WITH ORDINALITY AS e (entry, place) "
        f"WHERE {where}), '[]') WHERE id = '{{victim}}'"
    )


def altered(seq: int, to: str) -> str:
    """The SQL that changes one entry: `to` is the SQL of its members that are new."""
    this = f"(e.entry ->> 'seq')::int = {seq}"
    return timeline("true", f"e.entry || CASE WHEN {this} THEN {to} ELSE jsonb_build_object() END")


def lengthened(event: str, to_status: str) -> str:
    """The SQL that adds an entry behind the last one of a confirmed order."""
    return (
        "UPDATE app.orders SET timeline_seq = timeline_seq + 1, timeline = timeline || "  # noqa: S608 - our own
        f"jsonb_build_array(timeline -> -1 || jsonb_build_object('seq', timeline_seq + 1, 'event', "
        f"'{event}', 'from_status', 'CONFIRMED', 'to_status', {to_status})) "
        "WHERE id = '{victim}'"
    )


WITHOUT_SECOND = timeline("(e.entry ->> 'seq')::int <> 2")
SHORTENED = "UPDATE app.orders SET timeline_seq = timeline_seq - 1 WHERE id = '{victim}'"
STRANDED = [
    timeline("(e.entry ->> 'seq')::int = 1"),
    (
        "UPDATE app.orders SET status = 'PENDING', facts = '{{}}', timeline_seq = 1, "
        "settled_at = NULL WHERE id = '{victim}'"
    ),
]

ORDERS = [
    plant(
        *("I03", "an undo is owed", OUT_OF_STOCK),
        order="UPDATE app.orders SET settled_at = NULL WHERE id = '{victim}'",
    ),
    plant(*("I03", "stranded", CONFIRMED), also="I18 I33 I37 I38 I42", order=STRANDED),
    plant(
        *("I04", "past its deadline", CONFIRMED),
        also="I03 I18 I33 I37 I38 I42",
        order=[
            *STRANDED,
            "UPDATE app.orders SET not_after = now() - interval '61 s' WHERE id = '{victim}'",
        ],
    ),
    plant(
        *("I05", "a step is skipped", CONFIRMED),
        order=[
            WITHOUT_SECOND,
            altered(3, "jsonb_build_object('seq', 2, 'from_status', 'PENDING')"),
            SHORTENED,
        ],
    ),
    plant(*("I06", "a gap", CONFIRMED), order=WITHOUT_SECOND),
    plant(
        *("I06", "another end", OUT_OF_STOCK),
        order="UPDATE app.orders SET timeline_seq = 99 WHERE id = '{victim}'",
    ),
    plant(*("I06", "no timeline", OUT_OF_STOCK), order=timeline("false")),
    plant(
        *("I07", "left its end", CONFIRMED),
        also="I05",
        order=lengthened("Other", "'CONFIRMED'"),
    ),
    plant(
        *("I08", "back in time", CONFIRMED),
        order=altered(
            2, "jsonb_build_object('at', (e.entry ->> 'at')::timestamptz - interval '1 h')"
        ),
    ),
    plant(
        *("I09", "a wrong total", OUT_OF_STOCK),
        order="UPDATE app.orders SET total_amount = total_amount + 0.01 WHERE id = '{victim}'",
    ),
    plant(
        *("I09", "half a piece", OUT_OF_STOCK),
        order="UPDATE app.orders SET lines = jsonb_build_array(jsonb_build_object('productId', "
        "lines -> 0 ->> 'productId', 'quantity', 0.5, 'unitPrice', 2 * total_amount)) "
        "WHERE id = '{victim}'",
    ),
]

KEYS = [
    plant(
        *("I10", "two orders of one key", "SELECT id FROM app.orders ORDER BY id LIMIT 1"),
        order=[
            "ALTER TABLE app.orders DROP CONSTRAINT orders_key",
            (
                "UPDATE app.orders SET idempotency_key = 'twice' WHERE id IN "
                "(SELECT id FROM app.orders ORDER BY id LIMIT 2)"
            ),
        ],
    ),
    plant(
        *("I14", "an order without its key", CONFIRMED),
        order="UPDATE app.orders SET request_hash = '' WHERE id = '{victim}'",
    ),
    plant(
        *("I14", "a key that answers with another order", CONFIRMED),
        order="UPDATE app.orders o SET response = (SELECT response FROM app.orders p "
        "WHERE p.id <> o.id LIMIT 1) WHERE id = '{victim}'",
    ),
]

LOG = [
    plant(
        *("I15", "a partition that is gone", "SELECT 'outbox_2000001'"),
        notification="DROP TABLE messaging.outbox_1000001",
    ),
    plant(
        *("I15", "a reader that is not registered", "SELECT 'inventory-service'"),
        order="DELETE FROM messaging.outbox_reader WHERE consumer = 'inventory-service'",
    ),
    plant(
        *("I15", "a reader reported too far", "SELECT 'inventory-service'"),
        order="UPDATE messaging.outbox_reader SET positions[4] = positions[4] + 1 "
        "WHERE consumer = 'inventory-service'",
    ),
    plant(
        *("I18", "an ending that was not told", INNER.replace("{type}", "OrderConfirmed")),
        order="DELETE FROM messaging.outbox WHERE aggregateid = '{victim}' "
        "AND type = 'OrderConfirmed'",
    ),
    plant(
        *("I18", "an ending of another kind", INNER.replace("{type}", "OrderConfirmed")),
        order="UPDATE messaging.outbox SET type = 'OrderCancelled' WHERE aggregateid = '{victim}' "
        "AND type = 'OrderConfirmed'",
        also="I22 I25",
    ),
    plant(
        *("I18", "an answer of stock that was not told", "SELECT order_id FROM app.reservations"),
        inventory="UPDATE app.reservations SET version = version + 1 WHERE order_id = '{victim}'",
    ),
    plant(
        *("I18", "a refund that was not told", REFUNDED),
        payment="UPDATE messaging.outbox SET type = 'PaymentSucceeded' "
        "WHERE aggregateid = '{victim}' AND type = 'PaymentRefunded'",
    ),
    plant(
        *("I19", "one id twice", "SELECT id FROM messaging.outbox ORDER BY seq LIMIT 1"),
        order="UPDATE messaging.outbox SET id = '{victim}' WHERE seq = "
        "(SELECT seq FROM messaging.outbox WHERE type = 'OrderCreated' ORDER BY seq OFFSET 1 "
        "LIMIT 1)",
    ),
    plant(
        *("I19", "a gap", INNER.replace("{type}", "OrderConfirmed")),
        order=[
            (
                "UPDATE messaging.outbox SET aggregate_version = aggregate_version + 5 "
                "WHERE aggregateid = '{victim}' AND type = 'OrderConfirmed'"
            ),
            "UPDATE app.orders SET version = version + 5 WHERE id = '{victim}'",
        ],
    ),
    plant(
        *("I20", "the second before the first", INNER.replace("{type}", "OrderConfirmed")),
        order="UPDATE messaging.outbox SET aggregate_version = 3 - aggregate_version "
        "WHERE aggregateid = '{victim}'",
    ),
    plant(
        *("I21", "another lane", INNER.replace("{type}", "OrderCreated")),
        order="UPDATE messaging.outbox o SET lane = (SELECT lane FROM messaging.outbox p "
        "WHERE p.seq > o.seq AND p.lane <> o.lane AND p.lane < 16 ORDER BY p.seq DESC LIMIT 1) "
        "WHERE aggregateid = '{victim}' AND type = 'OrderCreated'",
    ),
    plant(
        *("I21", "no correlation id", INNER.replace("{type}", "OrderCreated")),
        order="UPDATE messaging.outbox SET correlation_id = '' WHERE aggregateid = '{victim}'",
    ),
    plant(
        *("I21", "the key is another order's", INNER.replace("{type}", "StockReserved")),
        inventory="UPDATE messaging.outbox SET payload = '\\x7b7d' WHERE aggregateid = '{victim}'",
    ),
]

SKIPPED_BY_PAYMENT = """
SELECT id FROM messaging.outbox WHERE type = 'OrderCancelled' AND aggregateid IN
    (SELECT id::text FROM app.orders WHERE reason = 'stock_unavailable') ORDER BY seq LIMIT 1
"""
LANE_OF_VICTIM = "(SELECT lane FROM messaging.outbox WHERE id = '{victim}')"

CONSUMERS = [
    plant(
        *("I22", "passed over", SKIPPED_BY_PAYMENT),
        order=[],
        payment="DELETE FROM messaging.inbox WHERE message_id = '{victim}'",
    ),
    plant(
        *("I23", "twice in the inbox", "SELECT message_id FROM messaging.inbox LIMIT 1"),
        payment=[
            "ALTER TABLE messaging.inbox DROP CONSTRAINT inbox_pkey",
            (
                "INSERT INTO messaging.inbox SELECT * FROM messaging.inbox "
                "WHERE message_id = '{victim}'"
            ),
        ],
    ),
    plant(
        *("I24", "a fact folded twice", CONFIRMED),
        order=lengthened("PaymentSucceeded", "NULL::text"),
    ),
    plant(
        *(
            "I24",
            "one message moved stock twice",
            "SELECT order_id FROM app.stock_ledger WHERE kind = 'commit' ORDER BY at LIMIT 1",
        ),
        inventory="UPDATE app.reservations SET moves = jsonb_set(moves, ARRAY['1', 'message_id'], "
        "moves #> ARRAY['0', 'message_id']) WHERE order_id = '{victim}'",
        also="",
    ),
    plant(
        *(
            "I24",
            "one message charged twice",
            (
                "SELECT causation_id FROM messaging.deliveries "
                "WHERE kind = 'charge' ORDER BY created_at LIMIT 1"
            ),
        ),
        payment="INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id, "
        "causation_id) SELECT gen_random_uuid(), kind, '{victim}', convert_to('{{}}', 'UTF8'), "
        "'PARKED', correlation_id, causation_id FROM messaging.deliveries "
        "WHERE causation_id = '{victim}'",
    ),
    plant(
        *("I25", "an effect of nothing", CONFIRMED),
        order=altered(2, "jsonb_build_object('message_id', gen_random_uuid())"),
    ),
    plant(
        *(
            "I25",
            "a skipped type in the inbox",
            "SELECT id FROM messaging.outbox WHERE type = 'OrderCreated' ORDER BY seq LIMIT 1",
        ),
        order=[],
        notification="INSERT INTO messaging.inbox VALUES ('notification-service', '{victim}')",
    ),
    plant(
        *(
            "I26",
            "unread",
            (
                "SELECT id FROM messaging.outbox WHERE type = 'OrderConfirmed' "
                "ORDER BY seq DESC LIMIT 1"
            ),
        ),
        order=[
            (
                "UPDATE messaging.outbox_reader SET positions[1 + lane] = seq - 1 FROM "
                "messaging.outbox WHERE id = '{victim}' AND consumer = 'notification-service'"
            ),
        ],
        notification="UPDATE messaging.consumer_source SET positions = array_fill(0, ARRAY[17])",
        also="I15",
    ),
    plant(
        *("I26", "beyond the log", "SELECT 'notification-service'"),
        notification="UPDATE messaging.consumer_source SET positions[17] = 1000000",
    ),
]

LETTERS = [
    plant(
        *("I27", "redriven but not applied", LETTER.replace("{verdict}", "OPEN")),
        inventory="UPDATE messaging.dead_letters SET verdict = 'REDRIVEN', verdict_by = 'me', "
        "verdict_reason = 'so', verdict_at = now()",
    ),
    plant(
        *("I27", "discarded but applied", LETTER.replace("{verdict}", "DISCARDED")),
        notification="INSERT INTO messaging.inbox VALUES ('notification-service', '{victim}')",
    ),
    plant(
        *("I28", "no reason", LETTER.replace("{verdict}", "OPEN")),
        inventory="UPDATE messaging.dead_letters SET error_type = ''",
    ),
    plant(
        *("I28", "nobody gave the verdict", LETTER.replace("{verdict}", "DISCARDED")),
        notification="UPDATE messaging.dead_letters SET verdict_by = NULL "
        "WHERE verdict = 'DISCARDED'",
    ),
    plant(
        *("I28", "no headers on its topic", LETTER.replace("{verdict}", "OPEN")),
        inventory="UPDATE messaging.outbox SET headers = '{{}}' WHERE lane = 16",
    ),
]

PRODUCT = "SELECT id FROM app.products ORDER BY id LIMIT 1"

STOCK = [
    plant(
        *("I29", "negative stock", PRODUCT),
        inventory=[
            "ALTER TABLE app.products DROP CONSTRAINT products_available_in_range",
            (
                "INSERT INTO app.stock_adjustments SELECT id, 'adjust', -5 - available, now() "
                "FROM app.products WHERE id = '{victim}'"
            ),
            "UPDATE app.products SET available = -5 WHERE id = '{victim}'",
        ],
    ),
    plant(
        *("I30", "a piece too many", PRODUCT),
        also="I31",
        inventory="UPDATE app.products SET sold = sold + 1 WHERE id = '{victim}'",
    ),
    plant(
        *("I31", "sold without a word", PRODUCT),
        inventory="UPDATE app.products SET sold = sold + 1, available = available - 1 "
        "WHERE id = '{victim}'",
    ),
    plant(
        *("I32", "two moves that only balance together", PRODUCT),
        inventory="UPDATE app.reservations r SET moves = jsonb_set(moves, "
        "ARRAY['0', 'units', '0', '1'], "
        "to_jsonb((moves #>> ARRAY['0', 'units', '0', '1'])::int + (3 - 2 * n.nth))) "
        "FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS nth FROM app.reservations "
        "WHERE moves #>> ARRAY['0', 'units', '0', '0'] = '{victim}' LIMIT 2) AS n "
        "WHERE n.order_id = r.order_id",
    ),
    plant(
        *(
            "I33",
            "confirmed and still reserved",
            (
                "SELECT order_id FROM app.reservations "
                "WHERE status = 'COMMITTED' ORDER BY order_id LIMIT 1"
            ),
        ),
        inventory="UPDATE app.reservations SET status = 'RESERVED' WHERE order_id = '{victim}'",
    ),
    plant(
        *("I33", "another quantity sold", CONFIRMED),
        order="UPDATE app.orders SET lines = jsonb_set(jsonb_set(lines, '{{0,quantity}}', '20'), "
        "'{{0,unitPrice}}', to_jsonb(total_amount / 20)) WHERE id = '{victim}'",
    ),
    plant(
        *(
            "I34",
            "reserved twice",
            (
                "SELECT order_id FROM app.reservations "
                "WHERE status = 'COMMITTED' ORDER BY order_id LIMIT 1"
            ),
        ),
        inventory=[
            "ALTER TABLE app.reservations DROP CONSTRAINT reservations_moved_once",
            (
                "UPDATE app.reservations SET moves = jsonb_build_array(moves -> 0, "
                "(moves -> 0) - 'message_id', ((moves -> 1) - 'message_id') || "
                "jsonb_build_object('kind', 'release', 'units', (SELECT jsonb_agg("
                "jsonb_build_array(u.unit -> 0, -(u.unit ->> 1)::int, -(u.unit ->> 2)::int, 0)) "
                "FROM jsonb_array_elements(moves #> ARRAY['0', 'units']) AS u (unit))), "
                "moves -> 1) WHERE order_id = '{victim}'"
            ),
        ],
    ),
]

CHARGE = "UPDATE app.charges SET {} WHERE order_id = '{{victim}}'"
AGAIN = """
INSERT INTO app.charges SELECT 'again', gen_random_uuid(), order_id, amount, currency, '{outcome}',
       created_at FROM app.charges WHERE order_id = '{victim}'
"""


def asked(member: str, to: str) -> str:
    """The SQL that changes what was asked of the provider, as our own books have it."""
    return (
        "UPDATE messaging.deliveries SET request = convert_to((convert_from(request, 'UTF8')"  # noqa: S608 - our own
        f"::jsonb || jsonb_build_object('{member}', {to}))::text, 'UTF8') "
        "WHERE kind = 'charge' AND key = '{victim}'"
    )


MONEY = [
    plant(
        *("I35", "another currency", REFUNDED),
        payment=[],
        order="UPDATE app.orders SET currency = 'USD' WHERE id = '{victim}'",
    ),
    plant(
        *("I35", "captured twice", PAID),
        also="I36 I37 I38 I41",
        payment=[],
        provider=AGAIN.replace("{outcome}", "CAPTURED"),
    ),
    plant(
        *("I36", "another amount in our books", PAID),
        payment=asked(
            "amount", "(convert_from(request, 'UTF8')::jsonb -> 'amount')::numeric + 0.01"
        ),
    ),
    plant(
        *("I36", "captured and not in our books", PAID),
        also="I18",
        payment="DELETE FROM messaging.deliveries WHERE key = '{victim}'",
    ),
    plant(
        *("I37", "a confirmed order's money went back", PAID),
        also="I18 I38",
        payment="INSERT INTO messaging.deliveries (id, kind, key, request, state, correlation_id, "
        "settled_at) SELECT gen_random_uuid(), 'refund', key, convert_to('{{}}', 'UTF8'), state, "
        "correlation_id, now() FROM messaging.deliveries WHERE key = '{victim}'",
        provider="INSERT INTO app.refunds SELECT 'back', gen_random_uuid(), idempotency_key, "
        "order_id, amount, currency, created_at FROM app.charges WHERE order_id = '{victim}'",
    ),
    plant(
        *("I38", "sums in two currencies", "SELECT 'USD' FROM app.orders LIMIT 1"),
        also="I35",
        order="UPDATE app.orders SET currency = 'USD' WHERE id = (SELECT min(id::text)::uuid "
        "FROM app.orders WHERE status = 'CONFIRMED')",
    ),
    plant(
        *("I39", "refunded twice, by halves", REFUNDED),
        payment=[],
        provider=[
            "ALTER TABLE app.refunds DROP CONSTRAINT refunds_charge_key_key",
            "UPDATE app.refunds SET amount = amount - 0.01 WHERE order_id = '{victim}'",
            (
                "INSERT INTO app.refunds "
                "SELECT 'rest', gen_random_uuid(), charge_key, order_id, 0.01, "
                "currency, created_at FROM app.refunds WHERE order_id = '{victim}'"
            ),
        ],
    ),
    plant(
        *("I39", "more than was captured", REFUNDED),
        also="I36 I37 I38",
        payment=[],
        provider="UPDATE app.refunds SET amount = amount + 1 WHERE order_id = '{victim}'",
    ),
    plant(
        *(
            "I40",
            "a payment left open",
            (
                "SELECT order_id FROM app.payments "
                "WHERE status = 'FAILED' AND reason = 'payment_refused' ORDER BY order_id LIMIT 1"
            ),
        ),
        payment=[
            (
                "UPDATE messaging.deliveries SET state = 'PENDING', settled_at = NULL "
                "WHERE kind = 'charge' AND key = '{victim}'"
            ),
            "INSERT INTO app.payment_answers VALUES ('{victim}', 1)",
        ],
    ),
    plant(
        *("I41", "two keys at the provider", PAID),
        payment=[],
        provider=AGAIN.replace("{outcome}", "DECLINED"),
    ),
    plant(
        *(
            "I41",
            "two orders of one payment",
            "SELECT payment_id FROM app.payments ORDER BY order_id LIMIT 1",
        ),
        payment=asked("paymentId", "'{victim}'::text").replace(
            "key = '{victim}'",
            "key = (SELECT order_id::text FROM app.payments ORDER BY order_id OFFSET 1 LIMIT 1)",
        ),
    ),
]

TOLD = "SELECT order_id FROM app.notifications WHERE kind = 'OrderConfirmed' LIMIT 1"
PAYLOAD = """
UPDATE messaging.outbox SET payload = convert_to(replace(convert_from(payload, 'UTF8'),
    '"payload":{{', '"payload":{{"extra":"{extra}",'), 'UTF8') WHERE aggregateid = '{victim}'
"""
SOME_KEY = "SELECT aggregateid FROM messaging.outbox WHERE type = 'OrderCreated' LIMIT 1"

CUSTOMERS = [
    plant(
        *("I42", "nobody was told", TOLD),
        notification="DELETE FROM app.notifications WHERE order_id = '{victim}'",
    ),
    plant(
        *("I42", "told something else", TOLD),
        notification="UPDATE messaging.deliveries "
        "SET key = replace(key, 'OrderConfirmed', 'OrderCancelled') WHERE key LIKE '{victim}:%'",
    ),
    plant(
        *("I42", "neither sent nor failed", TOLD),
        notification="UPDATE messaging.deliveries SET state = 'PENDING', settled_at = NULL "
        "WHERE key LIKE '{victim}:%'",
    ),
    *(
        plant(*("I45", what, SOME_KEY), order=PAYLOAD.replace("{extra}", extra))
        for what, extra in (
            ("an address", "ada@example.org"),
            ("a card number", "4111111111111111"),
            ("a card number in groups", "4111 1111 1111 1111"),
            ("a token", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
        )
    ),
]

PLANTS = [*ORDERS, *KEYS, *LOG, *CONSUMERS, *LETTERS, *STOCK, *MONEY, *CUSTOMERS]
