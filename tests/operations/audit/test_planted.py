"""Every invariant that applies is broken by SQL, and the audit names it with the rows."""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
from tests.operations.audit.filled import audited, execute, value
from tests.operations.audit.plants import PLANTS, Plant

from waybill.operations.audit import Kind, Outcome, matrix_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.operations.audit.filled import Filled


def rounds(plants: Sequence[Plant]) -> list[tuple[Plant, ...]]:
    """Lies that one audit can be told at once: each in a database of its own, and of one rule.

    What touches several databases, or breaks other rules too, is told alone.
    """
    alone = [plant for plant in plants if plant.also or len(plant.databases) > 1]
    by_database: dict[str, list[Plant]] = {}
    for plant in plants:
        if plant not in alone:
            by_database.setdefault(plant.databases[0], []).append(plant)
    together: list[tuple[Plant, ...]] = []
    for row in zip_longest(*by_database.values()):
        different = {plant.rule: plant for plant in row if plant is not None}
        together.append(tuple(different.values()))
        alone += [plant for plant in row if plant and different[plant.rule] is not plant]
    return [*together, *((plant,) for plant in alone)]


ROUNDS = rounds(PLANTS)


@pytest.mark.parametrize("plants", ROUNDS, ids=lambda plants: "+".join(map(str, plants)))
def test_planted_violations_are_named_with_their_rows(
    filled: Filled, plants: tuple[Plant, ...]
) -> None:
    """Exactly the rules that the lies break, and each victim among the rows."""
    victims = [victim_of(filled, plant) for plant in plants]
    with filled.copies([name for plant in plants for name in plant.databases]) as urls:
        for plant, victim in zip(plants, victims, strict=True):
            for service, statements in plant.sql.items():
                lies = [text.replace("{victim}", victim) for text in statements]
                lies = [text.replace("{{", "{").replace("}}", "}") for text in lies]
                asyncio.run(execute(urls[service], lies))
        report = audited(urls, rows_max=1_000)
    violated = {rule.id: rule for rule in report.violated}
    assert set(violated) == {plant.rule for plant in plants}.union(*(p.also for p in plants))
    assert report.exit_status == 1
    for plant, victim in zip(plants, victims, strict=True):
        found = violated[plant.rule]
        assert found.violations == len(found.rows)
        told = [text for each in found.rows for text in each.row.values() if text]
        assert any(victim in text for text in told), found.rows
        assert not any("{" in each.look_at for each in found.rows), found.rows


def victim_of(filled: Filled, plant: Plant) -> str:
    """The row that the lie is about, in the plant's first database."""
    return str(asyncio.run(value(filled.urls()[next(iter(plant.sql))], plant.victim)))


def test_every_rule_that_applies_has_a_plant() -> None:
    """No rule goes without a test that sees it broken; kind H has its own. No plant is left out."""
    applying = {
        rule.id
        for rule in matrix_of().rules
        if rule.outcome is Outcome.APPLIES and rule.kind != Kind.HISTORY.value
    }
    assert applying == {plant.rule for plant in PLANTS}
    assert sorted(map(str, PLANTS)) == sorted(str(plant) for each in ROUNDS for plant in each)
