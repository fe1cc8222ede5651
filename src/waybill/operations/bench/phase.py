"""One measurement: warm up, come to rest, send, come to rest; then the figures of what was sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from waybill.operations.bench.figures import Measured, an_order, latency, per_second
from waybill.operations.bench.rest import POLL_SECONDS, BenchFailedError, Rest
from waybill.operations.bench.target import DRAIN_SECONDS_MAX
from waybill.operations.generator import Generator
from waybill.operations.plan import Plan
from waybill.operations.sent_orders import two_lines
from waybill.operations.watcher import Watcher

if TYPE_CHECKING:
    from waybill.operations.bench.confirmations import Confirmations
    from waybill.operations.bench.counters import Counters
    from waybill.operations.bench.sampler import Sampler
    from waybill.operations.bench.target import PhasePlan, Target
    from waybill.operations.history import HistoryWriter
    from waybill.operations.plan import Result


class Progress(Protocol):
    """Who shows how far the bench is."""

    def step(self, text: str, seconds: float | None = None) -> None:
        """Something begins; it takes so long, if that is known."""


class Phases:
    """Runs measurements one after another with the same instruments."""

    def __init__(
        self,
        target: Target,
        *,
        counters: Counters,
        confirmations: Confirmations,
        sampler: Sampler,
        history: HistoryWriter,
        progress: Progress,
    ) -> None:
        self._target = target
        self._counters = counters
        self._confirmations = confirmations
        self._sampler = sampler
        self._history = history
        self._progress = progress
        self._contents = two_lines(target.blueprint)
        self._rest = Rest(target, confirmations, DRAIN_SECONDS_MAX)

    async def run(self, plan: PhasePlan) -> Measured:
        """One measurement. Raises BenchFailedError if the platform does not come to rest."""
        self._confirmations.look_seconds = plan.look_seconds
        if plan.warm_up_seconds:
            self._progress.step(f"{plan.name}: warm-up", plan.warm_up_seconds)
            await self._send(plan, plan.warm_up_seconds)
        await self._come_to_rest(plan)
        await self._settle(plan)
        rows_before, before = await self._counters.rows(), await self._counters.work()
        tally, looks = self._confirmations.begin(), self._confirmations.looks
        watcher = Watcher(
            self._target.host,
            self._target.port_base + 1,
            every=plan.watch_every,
            blueprint=self._target.blueprint,
            headers=f"Authorization: Bearer {self._target.token}\r\n" if self._target.token else "",
        )
        self._progress.step(f"{plan.name}: measuring", plan.seconds)
        began = time.perf_counter()
        result = await self._send(plan, plan.seconds, watcher)
        sent = time.perf_counter()
        await self._come_to_rest(plan)
        rest = time.perf_counter()
        after = await self._counters.work()
        await watcher.close(POLL_SECONDS)
        await self._settle(plan)
        if not result.accepted:
            raise BenchFailedError(f"no order was accepted; refused: {dict(result.refused)}")
        rows = rows_before, await self._counters.rows()
        memory = self._sampler.memory_max(began, rest)
        return Measured(
            name=plan.name,
            rate=plan.rate,
            connections=plan.connections,
            seconds=result.seconds,
            began_seconds=self._sampler.since_start(began),
            rest_seconds=rest - sent,
            accepted=result.accepted,
            refused=dict(result.refused),
            unknown=result.unknown,
            cancelled=tally.cancelled,
            confirmed=len(tally.written),
            accepted_per_second=result.accepted / result.seconds,
            confirmed_per_second=per_second(len(tally.written), began, tally.last_written),
            post=latency(result.latencies),
            confirmed_seen=latency(tally.seen),
            confirmed_written=latency(tally.written),
            confirmed_polled=latency(watcher.latencies) if plan.watch_every else None,
            left_out_of_poll=watcher.left_out,
            an_order=an_order(before, after, rows, result.accepted),
            python_bytes_max=memory[0],
            postgres_bytes_max=memory[1],
            looks=self._confirmations.looks - looks,
        )

    async def _send(
        self, plan: PhasePlan, seconds: float, watcher: Watcher | None = None
    ) -> Result:
        load = Plan(
            rate=plan.rate,
            seconds=seconds,
            connections=plan.connections,
            host=self._target.host,
            port_base=self._target.port_base,
            blueprint=self._target.blueprint,
            contents=self._contents,
            token=self._target.token,
            caller=self._target.caller,
        )

        def accepted(order: bytes, intended: float) -> None:
            self._sampler.accepted += 1
            self._confirmations.accepted(order, intended)
            if watcher is not None:
                watcher.accepted(order, intended)

        return await Generator(load, history=self._history, accepted=accepted).run()

    async def _settle(self, plan: PhasePlan) -> None:
        if plan.settle_seconds:
            text = f"{plan.name}: PostgreSQL's row counters settle"
            self._progress.step(text, plan.settle_seconds)
            await asyncio.sleep(plan.settle_seconds)

    async def _come_to_rest(self, plan: PhasePlan) -> None:
        """Until every order has ended and nothing is under way, as the audit has it."""
        self._progress.step(f"{plan.name}: until nothing is under way")
        await self._rest.until_ended()
        await self._rest.until_quiet()
