"""Kind H: what a client was told, against the order database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest
from tests.operations.audit.filled import audited, execute

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.operations.audit import Kind, Outcome
from waybill.operations.history import Entry, HistoryWriter, hash_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.operations.audit.filled import Filled

    from waybill.operations.audit import RuleResult

OTHER = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
PLACED = "SELECT id, customer_id, scope, idempotency_key AS key FROM app.orders ORDER BY id"


def replies(filled: Filled) -> list[Entry]:
    """What a client that placed every order was told; one of them twice."""

    async def rows() -> list[Any]:
        connection = await asyncpg.connect(filled.urls()["order"])
        try:
            return list(await connection.fetch(PLACED))
        finally:
            await connection.close()

    told = [
        Entry(
            at=datetime(2026, 11, 21, tzinfo=UTC),
            operation="place",
            scope=row["scope"],
            key=row["key"],
            customer_id=str(row["customer_id"]),
            payload_hash=hash_of(str(row["id"]).encode()),
            status=201,
            outcome="ok",
            order_id=str(row["id"]),
            body_hash=hash_of(row["key"].encode()),
            seconds=0.01,
        )
        for row in asyncio.run(rows())
    ]
    return [*told, told[0]]


def judged(
    filled: Filled, path: Path, entries: Iterable[Entry], urls: Mapping[str, str] | None = None
) -> dict[str, RuleResult]:
    """The rules of kind H by id, for this history; by default of the books as they are."""
    with HistoryWriter(path) as writer:
        for entry in entries:
            writer.write(entry)
    report = audited(urls or filled.urls(), history=path, kinds=frozenset((Kind.HISTORY,)))
    return {rule.id: rule for rule in report.rules if rule.kind == Kind.HISTORY.value}


def violated(rules: dict[str, RuleResult]) -> dict[str, int]:
    """How often which rule is violated."""
    return {rule.id: rule.violations for rule in rules.values() if rule.violations}


def test_a_true_history_is_clean(filled: Filled, tmp_path: Path) -> None:
    """Replays, refusals and answers that never came are no violations."""
    told = replies(filled)
    lost = msgspec.structs.replace(told[1], status=None, outcome="info", order_id=None)
    refused = msgspec.structs.replace(
        told[2], key="free", status=429, outcome="fail", order_id=None
    )
    conflict = msgspec.structs.replace(told[3], status=409, outcome="fail", order_id=None)
    rules = judged(filled, tmp_path / "history", [*told, lost, refused, conflict])
    assert {rule.outcome for rule in rules.values()} == {Outcome.CLEAN}
    assert set(rules) == {"I01", "I02", "I11", "I12"}


def test_an_accepted_order_that_is_not_there_is_named(filled: Filled, tmp_path: Path) -> None:
    """I01: a 201 without an order, and a 201 that named none."""
    told = replies(filled)
    missing = msgspec.structs.replace(told[1], key="lost", order_id=str(new_id()))
    nameless = msgspec.structs.replace(told[1], key="nameless", order_id="no id")
    rules = judged(filled, tmp_path / "history", [*told, missing, nameless])
    assert violated(rules) == {"I01": 2}
    assert {each.row["key"] for each in rules["I01"].rows} == {"lost", "nameless"}


def test_a_refused_request_that_left_an_order_is_named(filled: Filled, tmp_path: Path) -> None:
    """I02: told 503, and yet the order is there."""
    first, *others = replies(filled)[:-1]
    refused = msgspec.structs.replace(first, status=503, outcome="fail", order_id=None)
    rules = judged(filled, tmp_path / "history", [refused, *others])
    assert violated(rules) == {"I02": 1}
    (row,) = rules["I02"].rows
    assert row.row == {"order_id": first.order_id, "key": first.key, "statuses": "503"}
    assert str(first.order_id) in row.look_at


def test_an_order_whose_own_answer_refuses_it_is_what_was_told(
    filled: Filled, tmp_path: Path
) -> None:
    """I02: 402 of the blueprint checkout says that an order was placed, and was not paid for."""
    first, *others = replies(filled)[:-1]
    refused = msgspec.structs.replace(first, status=402, outcome="fail", order_id=None)
    answered = f"UPDATE app.orders SET answer = 402 WHERE id = '{first.order_id}'"  # noqa: S608 - an id
    with filled.copies(["order"]) as urls:
        before = judged(filled, tmp_path / "before", [refused, *others], urls)
        asyncio.run(execute(urls["order"], [answered]))
        assert violated(before) == {"I02": 1}
        assert not violated(judged(filled, tmp_path / "after", [refused, *others], urls))


@pytest.mark.parametrize("member", ["order_id", "body_hash", "payload_hash"])
def test_two_answers_to_one_key_are_named(filled: Filled, tmp_path: Path, member: str) -> None:
    """I11: another order, another body or another payload under one key."""
    told = replies(filled)
    change: dict[str, Any] = {member: told[2].order_id if member == "order_id" else "other"}
    rules = judged(
        filled, tmp_path / "history", [*told, msgspec.structs.replace(told[1], **change)]
    )
    assert violated(rules) == {"I11": 1}
    assert rules["I11"].rows[0].row["key"] == told[1].key


def test_an_answer_that_was_not_there_yet_is_no_second_one(filled: Filled, tmp_path: Path) -> None:
    """I11: 202 beside 201 is a replay while the first request waited; two bodies of 202 are two."""
    told = replies(filled)
    meanwhile = msgspec.structs.replace(told[1], status=202, body_hash="pending")
    assert not violated(judged(filled, tmp_path / "one", [*told, meanwhile, meanwhile]))
    other = msgspec.structs.replace(meanwhile, body_hash="other")
    assert violated(judged(filled, tmp_path / "two", [*told, meanwhile, other])) == {"I11": 1}


def test_an_answer_about_anothers_order_is_named(filled: Filled, tmp_path: Path) -> None:
    """I12: a customer was told of an order that is not theirs."""
    told = replies(filled)
    foreign = msgspec.structs.replace(told[1], key="mine", customer_id=OTHER)
    rules = judged(filled, tmp_path / "history", [*told, foreign])
    assert violated(rules) == {"I12": 1}
    assert rules["I12"].rows[0].row["asked_by"] == OTHER


def test_a_history_is_read_with_bounded_memory(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a history are asked about one by one, and nothing is lost between them."""
    monkeypatch.setattr("waybill.operations.audit.disk_index.PAGE_ROWS", 7)
    monkeypatch.setattr("waybill.operations.audit.history_index.INSERT_ROWS", 5)
    told = replies(filled)
    lost = [
        msgspec.structs.replace(told[0], key=f"lost-{number}", order_id=str(new_id()))
        for number in range(40)
    ]
    rules = judged(filled, tmp_path / "history", [*told, *lost])
    assert violated(rules) == {"I01": 40}
    assert len(rules["I01"].rows) == 20


def test_a_history_that_is_none_stops_the_audit(filled: Filled, tmp_path: Path) -> None:
    """A line that is no entry is named, and so is a file that is not there."""
    path = tmp_path / "history"
    path.write_text('{"at": "yesterday"}\n{}\n')
    with pytest.raises(ConfigurationError, match="line 1"):
        audited(filled.urls(), history=path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        audited(filled.urls(), history=tmp_path / "nothing")
