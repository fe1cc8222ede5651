"""How an audit runs: statuses, JSON, what it leaves out and why, and that it writes nothing."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import TYPE_CHECKING, cast

import pytest
from rich.console import Console
from tests.operations.audit.filled import audited, execute, value

from waybill.blueprints import choreography
from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.commands.audit import shown_progress
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.operations.audit import AuditOptions, Kind, Outcome, audit, matrix_of
from waybill.operations.audit.catalogue import RULES
from waybill.operations.audit.rule import Books, Rule
from waybill.operations.audit.scope import DATABASES, scope_of
from waybill.operations.audit.snapshot import Reading, ReadLimits
from waybill.operations.audit.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.operations.audit.filled import Filled

    from waybill.operations.audit.rule import Found

RULE_MEMBERS = {
    *("id", "kind", "title", "outcome", "reason", "databases"),
    *("violations", "rows", "seconds"),
}


def test_every_invariant_has_a_rule_and_every_rule_an_answer() -> None:
    """I01 to I45, each once; those that do not apply say why."""
    assert [rule.id for rule in RULES] == [f"I{number:02}" for number in range(1, 46)]
    rules = {rule.id: rule for rule in matrix_of().rules}
    left_out = {rule.id for rule in rules.values() if rule.outcome is Outcome.DOES_NOT_APPLY}
    assert left_out == {
        *("I13", "I16", "I17", "I43", "I44"),
        *("I01", "I02", "I11", "I12"),  # without a history
    }
    assert all(rules[id_].reason for id_ in left_out)
    assert "SMTP" in rules["I43"].reason
    assert "void" in rules["I13"].reason


def test_what_applies_follows_from_the_blueprint() -> None:
    """A platform without the provider's ledger cannot look at it, and the matrix says so."""
    scope = scope_of(CHOREOGRAPHY, DATABASES - {"provider"})
    needed = {rule.id for rule in RULES if not rule.needs <= scope.offers}
    assert {"I35", "I36", "I37", "I38", "I39"} < needed
    assert "I40" not in needed
    assert set(scope.terminal) == {choreography.CONFIRMED, choreography.CANCELLED}
    assert (None, choreography.PENDING) in scope.edges
    assert (choreography.STOCK_RESERVED, choreography.CONFIRMED) in scope.edges
    assert len(list(scope.routes)) == 6


def test_kind_a_is_looked_at_in_one_database_each() -> None:
    """Protocol A1: a rule that compares databases is of another kind."""
    for rule in RULES:
        assert rule.kind is not Kind.ALWAYS or rule.compare is None


def test_the_json_has_the_documented_shape(filled: Filled) -> None:
    """docs/audit.md describes these members."""
    answer = json.loads(audited(filled.urls()).as_json())
    assert set(answer) == {"status", "blueprint", "rules", "quiescent", "waiting", "seconds"}
    assert answer["status"] == "clean"
    assert len(answer["rules"]) == len(RULES)
    assert {frozenset(rule) for rule in answer["rules"]} == {frozenset(RULE_MEMBERS)}


def test_rows_are_bounded_and_counted_truly(filled: Filled) -> None:
    """A thousand violations are a number and a few rows."""
    with filled.copies(["notification"]) as urls:
        asyncio.run(execute(urls["notification"], ["DELETE FROM app.notifications"]))
        orders = asyncio.run(value(urls["order"], "SELECT count(*) FROM app.orders"))
        report = audited(urls, rows_max=3)
    (rule,) = report.violated
    assert (rule.id, rule.violations, len(rule.rows)) == ("I42", orders, 3)
    assert json.loads(report.as_json())["status"] == "violated"
    assert f"I42 ({orders})" in report.told()


def test_under_way_is_not_violated(filled: Filled) -> None:
    """Kind Q waits for quiescence; without it nothing is claimed, and the status says so."""
    with filled.copies(["payment"]) as urls:
        owed = "UPDATE messaging.deliveries SET state = 'PENDING' WHERE key = "
        one = "(SELECT min(key) FROM messaging.deliveries WHERE kind = 'charge')"
        asyncio.run(execute(urls["payment"], [owed + one]))
        told: list[str] = []
        asked = AuditOptions(still_seconds=15.0)
        report = asyncio.run(audit(urls, asked, progress=told.append))
        always = audited(urls, kinds=frozenset((Kind.ALWAYS,)))
    assert report.exit_status == 2
    assert report.quiescent is False
    assert not report.violated
    assert all(rule.kind == "Q" for rule in report.not_run)
    assert "1 deliveries owed by payment-service" in report.told()
    assert any("until nothing is under way: 1 deliveries owed" in line for line in told)
    assert always.exit_status == 0


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_waited_for_is_shown_on_a_terminal_only(
    *, is_terminal: bool, as_json: bool
) -> None:
    """Programs that read the table or the JSON get nothing else."""
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    with shown_progress(console, as_json=as_json) as progress:
        progress("[7] s at most")
        time.sleep(0.2)  # two pictures of it
    shown = cast("io.StringIO", console.file).getvalue()
    assert ("[7] s at most" in shown) == (is_terminal and not as_json)
    assert bool(shown) == (is_terminal and not as_json)


def test_what_is_stranded_and_no_rule_names_is_not_called_clean(filled: Filled) -> None:
    """Protocol A1: a redrive that nobody carries out breaks no rule, and proves none."""
    verdict = "UPDATE messaging.dead_letters SET verdict = 'REDRIVE', verdict_by = 'me', "
    with filled.copies(["inventory"]) as urls:
        given = f"{verdict} verdict_reason = 'so', verdict_at = now() WHERE verdict = 'OPEN'"
        asyncio.run(execute(urls["inventory"], [given]))
        report = audited(urls)
    assert (report.exit_status, report.violated) == (2, ())
    assert "1 dead letters of inventory-service to redrive" in report.told()


def test_an_order_that_waits_for_an_operator_is_listed_not_violated(filled: Filled) -> None:
    """I03, protocol A1: a parked charge leaves its order open, visibly."""
    refunded = "SELECT order_id FROM app.payments WHERE status = 'REFUNDED' LIMIT 1"
    with filled.copies(["order", "payment"]) as urls:
        order_id = asyncio.run(value(urls["payment"], refunded))
        pending = "UPDATE messaging.deliveries SET state = 'PENDING', settled_at = NULL"
        told = "INSERT INTO app.payment_answers VALUES"
        owed = "UPDATE app.orders SET settled_at = NULL WHERE id = "
        asyncio.run(execute(urls["order"], [f"{owed} '{order_id}'"]))
        refund = f"WHERE kind = 'refund' AND key = '{order_id}'"
        lies = [f"{pending} {refund}", f"{told} ('{order_id}', 2)"]
        asyncio.run(execute(urls["payment"], lies))
        before = audited(urls)
        park = "UPDATE messaging.deliveries SET state = 'PARKED' WHERE kind = 'refund' AND key = "
        asyncio.run(execute(urls["payment"], [f"{park} '{order_id}'"]))
        after = audited(urls)
    assert {"I03", "I36", "I40"} == {rule.id for rule in before.violated}
    assert after.exit_status == 0, after.told()
    assert after.waiting["parked deliveries of payment-service"] == 1


def test_what_retention_dropped_proves_nothing(filled: Filled) -> None:
    """Protocol A2: rules over outboxes look above the recorded horizon only."""
    dropping = [
        "DELETE FROM messaging.outbox WHERE seq < 40",
        "UPDATE messaging.outbox_meta SET horizon = 40, horizon_at = now()",
    ]
    with filled.copies(["order", "inventory", "payment"]) as urls:
        for service in ("order", "inventory", "payment"):
            asyncio.run(execute(urls[service], dropping))
        report = audited(urls)
    assert report.exit_status == 0, report.told()


def test_a_database_that_is_down_is_one_clear_line(filled: Filled) -> None:
    """Nothing could be looked at: an error that names the database."""
    urls = {**filled.urls(), "payment": "postgresql://nobody@127.0.0.1:9/none"}
    with pytest.raises(TransientError, match="the database of payment cannot be reached") as raised:
        audited(urls)
    assert "\n" not in str(raised.value)
    urls.pop("payment")
    with pytest.raises(ConfigurationError, match="needs the databases of: payment"):
        audited(urls)


def test_a_database_without_the_tables_is_one_clear_line(filled: Filled) -> None:
    """A wrong URL reaches something, but not the books."""
    urls = {**filled.urls(), "notification": filled.server.url()}
    with pytest.raises(TransientError, match="the database of notification cannot be read"):
        audited(urls)


async def test_a_command_to_paste_holds_nothing_for_the_shell() -> None:
    """A key is anybody's text; in a command that an operator pastes it must stay text."""

    async def rows() -> AsyncIterator[Found]:
        yield {"key": "a'; $(reboot) `x` \"\n--", "seq": 7}

    rule = Rule(
        id="I00",
        kind=Kind.ALWAYS,
        title="any",
        looks={"order": lambda _books, _database: rows()},
        look_at="look at '{key}' and {seq} and {other}",
    )
    tally = Tally(rule, rows_max=1)
    await tally.look(Books(scope_of(CHOREOGRAPHY, DATABASES), {}), "order")
    (found,) = tally.result().rows
    assert found.row["key"] == "a'; $(reboot) `x` \"\n--"
    assert found.look_at == "look at 'a?? ??reboot? ?x? ??--' and 7 and {other}"


async def test_a_session_of_the_audit_cannot_write(filled: Filled) -> None:
    """Least privilege: read-only before its first statement, whatever the role may do."""
    reading = await Reading.open("order", filled.urls()["order"], ReadLimits())
    try:
        with pytest.raises(TransientError, match="read-only"):
            await reading.fetch("UPDATE app.orders SET version = 0")
        async with reading.snapshot():
            assert (await reading.fetch("SHOW transaction_read_only"))[0][0] == "on"
            assert (await reading.fetch("SHOW transaction_isolation"))[0][0] == "repeatable read"
    finally:
        await reading.close()


def test_a_snapshot_stands_still(filled: Filled) -> None:
    """Protocol A1: what is committed after it began is not in it."""
    count = "SELECT count(*) FROM app.notifications"

    async def look(url: str) -> tuple[int, int, int, int]:
        reading = await Reading.open("notification", url, ReadLimits(page_rows=2))
        try:
            async with reading.snapshot():
                before = (await reading.fetch(count))[0][0]
                await execute(url, ["DELETE FROM app.notifications"])
                then = (await reading.fetch(count))[0][0]
                rows = [row async for row in reading.stream("SELECT * FROM app.notifications")]
            return before, then, len(rows), (await reading.fetch(count))[0][0]
        finally:
            await reading.close()

    with filled.copies(["notification"]) as urls:
        before, then, streamed, after = asyncio.run(look(urls["notification"]))
    assert before == then == streamed > 2
    assert after == 0
