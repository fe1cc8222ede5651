"""What services tell: every change of state wrote its event, in the transaction of the change.

Only what is above the recorded horizon counts (protocol A2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.operations.audit.rule import Books, Kind, Rule, statement
from waybill.operations.audit.scope import INVENTORY, ORCHESTRATOR, ORDER, PAYMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

# A row exists from the first event on, and its version counts the events (contracts, commerce).
# $1, $2: each status with the types that must have been told by then; $3: types told once at most
# and only in that status.
_TOLD = """
WITH kept AS (
    SELECT coalesce(detaching, horizon) = 1 AS whole, horizon_at + interval '1 minute' AS since
    FROM messaging.outbox_meta
), wanted (status, type) AS (
    SELECT * FROM unnest($1::text[], $2::text[])
), told AS (
    SELECT aggregateid AS key, type, count(*) AS events, max(aggregate_version) AS version
    FROM messaging.outbox WHERE aggregate_version IS NOT NULL GROUP BY aggregateid, type
), newest AS (
    SELECT key, max(version) AS version FROM told GROUP BY key
)
SELECT r.{id} AS order_id, r.status, w.type, 'was not told' AS problem
FROM app.{table} AS r JOIN wanted AS w USING (status) CROSS JOIN kept
WHERE (kept.whole OR r.created_at > kept.since) AND NOT EXISTS (
    SELECT FROM told WHERE told.key = r.{id}::text AND told.type = w.type
)
UNION ALL
SELECT r.{id}, r.status, t.type, 'was told ' || t.events || ' times, it may be once in its status'
FROM app.{table} AS r JOIN told AS t ON t.key = r.{id}::text
WHERE t.type = ANY ($3::text[]) AND (t.events > 1 OR NOT EXISTS (
    SELECT FROM wanted AS w WHERE w.status = r.status AND w.type = t.type
))
UNION ALL
SELECT r.{id}, r.status, NULL, 'its version is ' || r.version || ', its last event is number '
       || coalesce(n.version, 0)
FROM app.{table} AS r CROSS JOIN kept LEFT JOIN newest AS n ON n.key = r.{id}::text
WHERE r.version <> coalesce(n.version, 0)
  AND (n.version IS NOT NULL OR kept.whole OR r.created_at > kept.since)
UNION ALL
SELECT app.uuid_or_null(t.key), NULL, t.type, 'was told of an order that is not here'
FROM told AS t WHERE NOT EXISTS (SELECT FROM app.{table} AS r WHERE r.{id}::text = t.key)
ORDER BY 1, 3
"""


def _told(table: str, id_: str = "order_id") -> str:
    return _TOLD.replace("{table}", table).replace("{id}", id_)


def _orders_tell(books: Books, _database: str) -> Iterable[object]:
    process, wire_name = books.scope.process, books.scope.blueprint.wire_name
    first = process.steps[0]
    statuses = () if first.called else {process.initial, *process.lifecycle}
    wanted = [(status, wire_name(first.ask)) for status in sorted(statuses)]
    if process.follows:  # its endings are told by whoever decides
        return [*map(list, zip(*wanted, strict=True)), []]
    endings = [(each.status, wire_name(each.event)) for each in process.endings if each.event]
    wanted += endings
    # An order that is cancelled late was told to be confirmed before.
    once = [event for status, event in endings if status in process.terminal]
    return [*map(list, zip(*wanted, strict=True)), once]


def _sagas_tell(books: Books, _database: str) -> Iterable[object]:
    blueprint = books.scope.blueprint
    process = blueprint.process
    progress = blueprint.orchestrator.progress if blueprint.orchestrator else {}
    wanted = [(status, blueprint.wire_name(name)) for status, name in progress.items()]
    endings = [
        (each.status, blueprint.wire_name(each.event)) for each in process.endings if each.event
    ]
    return [*map(list, zip(*wanted, *endings, strict=True)), [name for _, name in endings]]


def _stock_tells(books: Books, _database: str) -> Iterable[object]:
    (step,) = [each for each in books.scope.blueprint.process.steps if each.name == "stock"]
    wanted = [
        ("RESERVED", step.done),
        ("COMMITTED", step.done),
        ("REJECTED", step.refused),
        ("RELEASED", step.undone),
    ]
    told = [(status, books.scope.blueprint.wire_name(name)) for status, name in wanted if name]
    return [*map(list, zip(*told, strict=True)), []]


def _payments_tell(books: Books, _database: str) -> Iterable[object]:
    (step,) = [each for each in books.scope.blueprint.process.steps if each.name == "payment"]
    wanted = [
        ("SUCCEEDED", step.done),
        ("REFUND_PENDING", step.done),
        ("REFUNDED", step.done),
        ("REFUNDED", step.undone),
        ("FAILED", step.refused),
    ]
    told = [(status, books.scope.blueprint.wire_name(name)) for status, name in wanted if name]
    return [*map(list, zip(*told, strict=True)), []]


RULES = (
    Rule(
        id="I18",
        kind=Kind.QUIESCENT,
        title="every state change wrote its event, every ending exactly one",
        looks={
            ORDER: statement(_told("orders", "id"), _orders_tell),
            INVENTORY: statement(_told("reservations"), _stock_tells),
            PAYMENT: statement(_told("payments"), _payments_tell),
            ORCHESTRATOR: statement(_told("sagas"), _sagas_tell),
        },
        look_at=(
            'waybill psql {database} -c "SELECT seq, id, type, aggregate_version FROM '
            "messaging.outbox WHERE aggregateid = '{order_id}' ORDER BY seq\""
        ),
    ),
)
