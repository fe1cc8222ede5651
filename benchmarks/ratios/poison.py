"""R12: messages that cannot be decoded, and messages that fail in the database, to a clean run.

Undecodable ones are planted into the outboxes of three services while the load runs: one for each
hundred that they append, under the lane's lock as an append would (protocol O1). What fails in the
database fails by a constraint that refuses one order in a thousand at one stage; afterwards the
constraints are dropped and the dead letters redriven, so that every order is confirmed in the end.

Both sides run a process a service. In one process readers are handed what its outboxes append, and
rows that this benchmark writes past them would end that: not what poison costs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.cluster import connected, execute, value
from benchmarks.load_side import Scenario
from benchmarks.ratios.two_sides import compare
from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget
    from benchmarks.report import Result

# The limits exist to stop a consumer on such a day; here it has to go on.
ENVIRONMENT: Final = {"WAYBILL_DEAD_LETTERS_MAX": "1000000"}
PLANTED: Final = {
    "order": ("Order", "OrderCreated", "order-events", "order-service"),
    "inventory": ("Inventory", "StockReserved", "inventory-events", "inventory-service"),
    "payment": ("Payment", "PaymentSucceeded", "payment-events", "payment-service"),
}
EACH: Final = 100
PAUSE_SECONDS: Final = 0.05
GARBAGE: Final = b'{"eventType": "OrderCreated", \xff\xfe'
APPENDED: Final = "SELECT last_value FROM messaging.outbox_seq"
PLANT: Final = f"""
WITH planted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[]) AS planted (id, key, lane)
), locked AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock({LANE_LOCK_CLASS}, lane)) FROM (
        SELECT DISTINCT lane FROM planted ORDER BY lane
    ) AS lanes
)
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic,
    correlation_id, causation_id, traceparent, producer, headers, occurred_at
)
SELECT nextval('messaging.outbox_seq'), lane, id, $5, key, $6, $4, 1, NULL, $7, key, NULL, NULL,
       $8, '{{}}', clock_timestamp()
FROM locked CROSS JOIN planted
"""  # noqa: S608 - a constant

STAGES: Final = {
    "inventory": ("app.reservations", "order_id", "true"),
    "payment": ("messaging.deliveries", "key", "NEW.kind = 'charge'"),
    "order": ("app.orders", "id", "'PaymentSucceeded' = ANY (NEW.facts)"),
    "notification": ("messaging.deliveries", "split_part(NEW.key, ':', 1)", "true"),
}
"""Where an order's way fails: one stage an order, a message of each service's consumer."""
MESSAGES_AN_ORDER: Final = 6
FAILING_OF: Final = 1000 * len(STAGES) // MESSAGES_AN_ORDER
"""One order in so many fails at each stage: one message in a thousand altogether."""
# A constraint of the service's own, also where it stands on a row of the messaging schema; the
# row is shown as a CHECK shows it.
REFUSES: Final = """
CREATE FUNCTION app.planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE check_violation USING MESSAGE = 'planted', CONSTRAINT = 'planted',
        DETAIL = format('Failing row contains %s.', NEW);
END $$
"""
REDRIVE: Final = """
UPDATE messaging.dead_letters
SET verdict = 'REDRIVE', verdict_by = 'bench-ratios', verdict_reason = 'the constraint is gone',
    verdict_at = clock_timestamp()
WHERE verdict = 'OPEN'
"""
DISCARD: Final = """
UPDATE messaging.dead_letters
SET verdict = 'DISCARDED', verdict_by = 'bench-ratios', verdict_reason = 'planted',
    verdict_at = clock_timestamp()
WHERE verdict = 'OPEN'
"""
OPEN_LETTERS: Final = """
SELECT count(*) FROM messaging.dead_letters WHERE verdict IN ('OPEN', 'REDRIVE')
"""
REDRIVEN_SECONDS: Final = 60.0


class PoisonWithoutEffectError(Exception):
    """Nothing became a dead letter: the run was a clean one."""


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Each kind of poison against runs without any, with the same settings."""
    apart = Scenario("a process a service", environment=ENVIRONMENT)
    clean = "clean", apart
    garbage = replace(apart, beside=plant, mend=discard)
    failing = replace(apart, prepare=refuse_some, mend=redrive)
    half = budget.part(0.5)
    return [
        await compare(bench, half, "R12 undecodable", ("1 % undecodable", garbage), clean),
        await compare(bench, budget, "R12 failing", ("0.1 % failing", failing), clean),
    ]


async def plant(data: Path) -> None:
    """Runs beside the load: a record that nobody can decode for each hundred appended."""
    async with asyncio.TaskGroup() as group:
        for service in PLANTED:
            group.create_task(_plant_into(data, service))


async def _plant_into(data: Path, service: str) -> None:
    async with connected(data, service) as connection:
        planted, first = 0, int(await connection.fetchval(APPENDED))
        while True:
            appended = int(await connection.fetchval(APPENDED)) - first
            due = appended // EACH - planted
            if due > 0:
                # Together, as a producer would: what commits cost is not what poison costs.
                await _plant(connection, service, due)
                planted += due
            await asyncio.sleep(PAUSE_SECONDS)


async def _plant(connection: asyncpg.Connection, service: str, count: int) -> None:
    keys = [str(new_id()) for _ in range(count)]
    ids, lanes = [new_id() for _ in keys], [lane_of(key) for key in keys]
    await connection.execute(PLANT, ids, keys, lanes, GARBAGE, *PLANTED[service])


async def discard(data: Path) -> None:
    """An operator's verdict on what was planted."""
    if not await _letters(data):
        raise PoisonWithoutEffectError("no planted record became a dead letter")
    await execute(data, dict.fromkeys(STAGES, DISCARD))


async def _letters(data: Path) -> int:
    """How many there are, once no more come."""
    before = -1
    while (now := sum([await value(data, each, OPEN_LETTERS) for each in STAGES])) != before:
        before = now
        await asyncio.sleep(1)
    return before


async def refuse_some(data: Path, *, of: int = FAILING_OF) -> None:
    """Constraints that one order of so many breaks, at a stage that its id decides."""
    for place, (service, (table, column, when)) in enumerate(STAGES.items()):
        value = column if "(" in column else f"NEW.{column}"
        last = f"('x' || right({value}::text, 6))::bit(24)::int"
        trigger = (
            f"CREATE TRIGGER planted BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW "
            f"WHEN ({when} AND {last} % {of} = {place}) EXECUTE FUNCTION app.planted()"
        )
        await execute(data, {service: f"{REFUSES}; {trigger}"})


async def redrive(data: Path) -> None:
    """Drop the constraints and have every letter applied."""
    if not await _letters(data):
        raise PoisonWithoutEffectError("no message broke a constraint")
    await execute(data, dict.fromkeys(STAGES, f"DROP FUNCTION app.planted CASCADE; {REDRIVE}"))
    async with asyncio.timeout(REDRIVEN_SECONDS):
        for service in STAGES:
            while await value(data, service, OPEN_LETTERS):  # noqa: ASYNC110 - rows have no event
                await asyncio.sleep(0.2)
