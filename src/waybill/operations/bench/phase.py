"""One measurement: warm up, come to rest, send, come to rest; then the figures of what was sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from waybill.operations.bench.figures import Measured, an_order, latency, per_second
from waybill.operations.bench.rest import POLL_SECONDS, BenchFailedError, Rest
from waybill.operations.bench.target import DRAIN_SECONDS_MAX
from waybill.operations.watcher import Watcher

if TYPE_CHECKING:
    from waybill.operations.bench.counters import Counters
    from waybill.operations.bench.sending import Sending
    from waybill.operations.bench.target import PhasePlan
    from waybill.operations.plan import Result


class Progress(Protocol):
    """Who shows how far the bench is."""

    def step(self, text: str, seconds: float | None = None) -> None:
        """Something begins; it takes so long, if that is known."""


class Phases:
    """Runs measurements one after another with the same instruments."""

    def __init__(
        self,
        sending: Sending,
        *,
        counters: Counters,
        progress: Progress,
    ) -> None:
        self._sending = sending
        self._target = sending.target
        self._counters = counters
        self._confirmations = sending.confirmations
        self._sampler = sending.sampler
        self._progress = progress
        self._rest = Rest(sending.target, sending.confirmations, DRAIN_SECONDS_MAX)

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
        sending = self._sending
        load = sending.plan(rate=plan.rate, seconds=seconds, connections=plan.connections)
        return await sending.send(load, watcher)

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
