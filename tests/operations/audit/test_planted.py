"""Every invariant that applies is broken once, by SQL, and the audit names it with the rows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.operations.audit.filled import audited, execute, value
from tests.operations.audit.plants import PLANTS

from waybill.operations.audit import Kind, Outcome, matrix_of

if TYPE_CHECKING:
    from tests.operations.audit.filled import Filled
    from tests.operations.audit.plants import Plant


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_a_planted_violation_is_named_with_its_rows(filled: Filled, plant: Plant) -> None:
    """Issue item 1: exactly the rules that the lie breaks, and the victim among the rows."""
    first = next(iter(plant.sql))
    victim = str(asyncio.run(value(filled.urls()[first], plant.victim)))
    with filled.copies([service for service in plant.sql if plant.sql[service]]) as urls:
        for service, statements in plant.sql.items():
            lies = [text.replace("{victim}", victim) for text in statements]
            lies = [text.replace("{{", "{").replace("}}", "}") for text in lies]
            asyncio.run(execute(urls[service], lies))
        report = audited(urls, rows_max=1_000)
    assert {rule.id for rule in report.violated} == {plant.rule} | plant.also
    assert report.exit_status == 1
    (found,) = [rule for rule in report.violated if rule.id == plant.rule]
    assert found.violations == len(found.rows)
    assert any(victim in (text or "") for each in found.rows for text in each.row.values()), (
        found.rows
    )
    assert not any("{" in each.look_at for each in found.rows), found.rows


def test_every_rule_that_applies_has_a_plant() -> None:
    """No rule goes without a test that sees it broken; kind H has its own."""
    applying = {
        rule.id
        for rule in matrix_of().rules
        if rule.outcome is Outcome.APPLIES and rule.kind != Kind.HISTORY.value
    }
    assert applying == {plant.rule for plant in PLANTS}
