"""One audit: rules of kind A in one snapshot a database, kind Q once all is quiescent, then H."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from waybill.blueprints.catalogue import DEFAULT
from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit.catalogue import RULES
from waybill.operations.audit.history_index import history_index
from waybill.operations.audit.quiescence import read_standing
from waybill.operations.audit.relayed import Taken
from waybill.operations.audit.report import Outcome, Report
from waybill.operations.audit.rule import Books, Kind
from waybill.operations.audit.scope import DATABASES, ORDER, PAYMENT, PROVIDER, Need, scope_of
from waybill.operations.audit.snapshot import Reading, ReadLimits
from waybill.operations.audit.tally import Tally, rule_result
from waybill.operations.audit.topic_index import Bus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.operations.audit.quiescence import Standing
    from waybill.operations.audit.report import RuleResult
    from waybill.operations.audit.rule import Rule
    from waybill.operations.audit.scope import Scope
    from waybill.operations.audit.topic_index import Ends, TopicIndex

POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What to look at, and how long to wait for it.

    `settle_seconds`: how long to wait for quiescence. `still_seconds`: pending rows that nothing
    has touched for so long are stranded, not under way: a dead process's lease (30 s) and a backoff
    (10 s) are over by then. The rules of kind Q are looked at and name them. `rows_max`:
    violations shown a rule. `elsewhere`: services that somebody else runs, whose databases hold
    nothing: rules that need them do not apply. `blueprint`: what the databases are of. `kafka`: the
    brokers that the relays feed.
    """

    blueprint: Blueprint = DEFAULT
    kinds: frozenset[Kind] = frozenset(Kind)
    settle_seconds: float = 0.0
    still_seconds: float = 45.0
    history: Path | None = None
    rows_max: int = 20
    elsewhere: frozenset[str] = frozenset()
    limits: ReadLimits = field(default_factory=ReadLimits)
    kafka: KafkaSettings | None = None


async def audit(
    urls: Mapping[str, str],
    options: AuditOptions | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Look at every rule that applies; writes nothing anywhere.

    `urls` by database: order, inventory, payment, notification, provider. `progress` is told what
    is looked at or waited for. Raises MessagingError in one line if a database or the history
    cannot be read.
    """
    options = options or AuditOptions()
    began = time.monotonic()
    wanted = {service.database for service in options.blueprint.services.values()}
    if missing := wanted - {*urls}:
        raise ConfigurationError(f"the audit needs the databases of: {', '.join(sorted(missing))}")
    if PAYMENT in wanted:
        wanted.add(PROVIDER)
    urls = {name: urls[name] for name in urls if name in wanted - options.elsewhere}
    scope = scope_of(options.blueprint, frozenset(urls), elsewhere=options.elsewhere)
    async with AsyncExitStack() as stack:
        run = _Run(scope, options, progress)
        results = await run.all(urls, stack)
    return Report(
        blueprint=scope.name,
        rules=tuple(results[rule.id] for rule in RULES),
        quiescent=run.quiescent,
        waiting=dict(run.waits),
        seconds=time.monotonic() - began,
    )


def matrix_of(options: AuditOptions | None = None) -> Report:
    """Which rules apply to the blueprint on the embedded platform; looks at nothing."""
    options = options or AuditOptions()
    scope = scope_of(options.blueprint, DATABASES)
    offered = offers(scope, options)
    rules = []
    for rule in RULES:
        reason = does_not_apply(rule, offered)
        outcome = Outcome.DOES_NOT_APPLY if reason else Outcome.APPLIES
        rules.append(rule_result(rule, outcome, reason))
    return Report(blueprint=scope.name, rules=tuple(rules), quiescent=None, waiting={}, seconds=0.0)


def offers(scope: Scope, options: AuditOptions) -> frozenset[Need]:
    """What blueprint and run offer to rules."""
    of_run = {Need.HISTORY: options.history, Need.BROKER: options.kafka}
    return scope.offers | {need for need, given in of_run.items() if given}


def does_not_apply(rule: Rule, offered: frozenset[Need]) -> str:
    """Why a rule does not apply; empty if it does."""
    return "; ".join(sorted(need.value for need in rule.needs - offered))


class _Run:
    """The working state of one audit."""

    def __init__(
        self, scope: Scope, options: AuditOptions, progress: Callable[[str], None]
    ) -> None:
        self._scope = scope
        self._options = options
        self._progress = progress
        self._taken = Taken()
        self._bus = Bus(options.kafka, scope) if options.kafka else None
        self._early: Ends = {}
        """Where topics ended before the snapshots were taken."""
        self.quiescent: bool | None = None
        self.waits: Mapping[str, int] = {}

    async def all(self, urls: Mapping[str, str], stack: AsyncExitStack) -> dict[str, RuleResult]:
        """Every rule's result, by its id."""
        offered = offers(self._scope, self._options)
        results: dict[str, RuleResult] = {}
        wanted: dict[Kind, list[Rule]] = {kind: [] for kind in Kind}
        for rule in RULES:
            reason = does_not_apply(rule, offered)
            if reason:
                results[rule.id] = rule_result(rule, Outcome.DOES_NOT_APPLY, reason)
            elif rule.kind not in self._options.kinds:
                results[rule.id] = rule_result(rule, Outcome.NOT_ASKED)
            else:
                wanted[rule.kind].append(rule)
        readings = await self._open(urls, stack)
        results |= await self._always(wanted[Kind.ALWAYS], readings)
        if wanted[Kind.QUIESCENT]:
            looking = await self._open(urls, stack)
            results |= await self._quiescent(wanted[Kind.QUIESCENT], readings, looking)
        if wanted[Kind.HISTORY] and self._options.history:
            results |= await self._told(wanted[Kind.HISTORY], readings, self._options.history)
        return results

    async def _open(self, urls: Mapping[str, str], stack: AsyncExitStack) -> dict[str, Reading]:
        readings = {}
        for database, url in urls.items():
            readings[database] = await Reading.open(database, url, self._options.limits)
            stack.push_async_callback(readings[database].close)
        return readings

    async def _always(
        self, rules: list[Rule], readings: Mapping[str, Reading]
    ) -> dict[str, RuleResult]:
        """Databases at once, the rules of one database one by one on its one snapshot."""
        self._progress("rules that hold at every instant")
        books = Books(self._scope, readings)
        tallies = {rule.id: Tally(rule, self._options.rows_max) for rule in rules}

        async def one(database: str) -> None:
            async with readings[database].snapshot():
                for rule in rules:
                    if database in rule.looks_in(self._scope):
                        await tallies[rule.id].look(books, database)

        try:
            async with asyncio.TaskGroup() as group:
                for database in readings:
                    group.create_task(one(database))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return {id_: tally.result() for id_, tally in tallies.items()}

    async def _quiescent(
        self, rules: list[Rule], readings: Mapping[str, Reading], looking: Mapping[str, Reading]
    ) -> dict[str, RuleResult]:
        """What is stranded counts only if a rule names it: else nothing was proven."""
        async with AsyncExitStack() as stack:
            standing, why_not = await self._settled(readings, looking, stack)
            self.quiescent = standing.is_quiet
            self.waits = standing.waits
            results: dict[str, RuleResult] = {}
            if not why_not:
                topics = await self._topics(readings, stack)
                self._progress("rules that hold at rest")
                books = Books(
                    self._scope,
                    readings,
                    waiting=standing.waiting,
                    reported=standing.reported,
                    topics=topics,
                )
                results = {rule.id: await self._whole(rule, books) for rule in rules}
                if standing.is_quiet or any(each.violations for each in results.values()):
                    return results
                why_not = f"not quiescent, though nothing moves: {standing.told()}"
            return {rule.id: rule_result(rule, Outcome.NOT_RUN, why_not) for rule in rules}

    async def _topics(
        self, readings: Mapping[str, Reading], stack: AsyncExitStack
    ) -> TopicIndex | None:
        if self._bus is None:
            return None
        self._progress("what the topics hold")
        index = stack.enter_context(self._bus.index())
        await self._bus.fill(index, readings, self._early)
        return index

    async def _settled(
        self,
        readings: Mapping[str, Reading],
        looking: Mapping[str, Reading],
        stack: AsyncExitStack,
    ) -> tuple[Standing, str]:
        """Snapshots of an instant at which nothing moved, open in `stack`; else why not.

        Nothing was under way before they were taken and after, and nothing happened meanwhile:
        so they are one picture, though each database's was taken at a moment of its own.
        """
        began = still_since = time.monotonic()
        before = await read_standing(self._scope, looking, self._taken)
        while True:
            if self._bus is not None:
                self._early = await self._bus.ends()
            async with AsyncExitStack() as snapshots:
                for reading in readings.values():
                    await snapshots.enter_async_context(reading.snapshot())
                after = await read_standing(self._scope, looking, self._taken)
                now = time.monotonic()
                if after.marks != before.marks:
                    still_since = now
                elif after.is_quiet or now - still_since >= self._options.still_seconds:
                    stack.push_async_exit(snapshots.pop_all())
                    # Reports were read before the snapshots: they follow what they tell of.
                    return replace(after, reported=before.reported), ""
            left = began + self._options.settle_seconds - now
            self._progress(
                f"{max(0, left):.0f} s at most until nothing is under way: {after.told()}"
            )
            if left <= 0:
                told = after.told() or "something moved while it was looked at"
                return after, f"not quiescent: {told} (wait with --settle SECONDS)"
            await asyncio.sleep(POLL_SECONDS)
            before = after

    async def _told(
        self, rules: list[Rule], readings: Mapping[str, Reading], history: Path
    ) -> dict[str, RuleResult]:
        """The file first: what it tells of was committed before the snapshot, then."""
        self._progress(f"what {history.name} tells")
        with history_index(history) as index:
            async with readings[ORDER].snapshot():
                books = Books(self._scope, readings, history=index)
                return {rule.id: await self._whole(rule, books) for rule in rules}

    async def _whole(self, rule: Rule, books: Books) -> RuleResult:
        tally = Tally(rule, self._options.rows_max)
        for database in rule.looks_in(self._scope):
            if database in books.readings:
                await tally.look(books, database)
        if rule.compare is not None:
            await tally.compare(books)
        return tally.result()
