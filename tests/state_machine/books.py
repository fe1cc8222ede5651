"""The audit's own rules, asked in milliseconds: its connections stay open from step to step."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from waybill.operations.audit.catalogue import RULES
from waybill.operations.audit.quiescence import read_standing
from waybill.operations.audit.rule import Books, Kind
from waybill.operations.audit.run import AuditOptions, does_not_apply, offers
from waybill.operations.audit.scope import scope_of
from waybill.operations.audit.snapshot import Reading, ReadLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from waybill.blueprints.definition import Blueprint
    from waybill.operations.audit.rule import Found, Rule


class Auditor:
    """Asks rules of kind A in one database, and rules of kind Q in all of them."""

    def __init__(self, urls: dict[str, str], blueprint: Blueprint) -> None:
        self._urls = urls
        self._scope = scope_of(blueprint, frozenset(urls))
        self._readings: dict[str, Reading] = {}
        offered = offers(self._scope, AuditOptions())
        rules = [rule for rule in RULES if not does_not_apply(rule, offered)]
        self._always = [rule for rule in rules if rule.kind is Kind.ALWAYS]
        self._at_rest = [rule for rule in rules if rule.kind is Kind.QUIESCENT]

    async def open(self) -> None:
        """Connect."""
        for database, url in self._urls.items():
            self._readings[database] = await Reading.open(database, url, ReadLimits())

    async def close(self) -> None:
        """Disconnect."""
        for reading in self._readings.values():
            await reading.close()

    async def assert_always(self, databases: Iterable[str]) -> None:
        """Kind A holds in these databases now."""
        books = Books(self._scope, self._readings)
        for database in databases:
            async with self._readings[database].snapshot():
                for rule in self._always:
                    if database in rule.looks:
                        await _assert_none(rule, rule.looks[database](books, database))

    async def under_way(self) -> str:
        """What is under way or waits for an operator; empty at rest."""
        standing = await read_standing(self._scope, self._readings)
        waits = ", ".join(f"{count} {what}" for what, count in standing.waits.items())
        return " ".join(each for each in (standing.told(), waits) if each)

    async def is_quiet(self) -> bool:
        """Nothing is under way: the rules of kind Q may be asked."""
        return (await read_standing(self._scope, self._readings)).is_quiet

    async def assert_at_rest(self) -> None:
        """Kind A and kind Q hold in all databases."""
        await self.assert_always(self._readings)
        standing = await read_standing(self._scope, self._readings)
        assert standing.is_quiet, standing.told()
        async with AsyncExitStack() as stack:
            for reading in self._readings.values():
                await stack.enter_async_context(reading.snapshot())
            books = Books(
                self._scope, self._readings, waiting=standing.waiting, reported=standing.reported
            )
            for rule in self._at_rest:
                for database, look in rule.looks.items():
                    if database in self._readings:
                        await _assert_none(rule, look(books, database))
                if rule.compare is not None:
                    await _assert_none(rule, rule.compare(books))


async def _assert_none(rule: Rule, rows: AsyncIterator[Found]) -> None:
    found: list[dict[str, Any]] = [dict(row) async for row in rows]
    assert not found, f"{rule.id} {rule.title}: {found}"
