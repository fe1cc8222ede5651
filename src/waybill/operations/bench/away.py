"""An outage, measured: orders at a rate while somebody outside cannot be reached, and after it.

The outage must be felt: without a call to whoever is away there is no figure.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

from waybill.operations.audit import AuditOptions, audit
from waybill.operations.audit.scope import ORDER
from waybill.operations.bench.order_rows import OrderRows
from waybill.operations.bench.outage import FirstAnswers, Outage
from waybill.operations.bench.rest import BenchFailedError, Rest
from waybill.operations.bench.run import AUDIT_SETTLE_SECONDS
from waybill.operations.bench.sampler import Sampler
from waybill.operations.generator import Generator
from waybill.operations.history import HistoryWriter
from waybill.operations.http_client import Connection
from waybill.operations.load import raise_stock
from waybill.operations.metrics import metric
from waybill.operations.plan import Plan
from waybill.operations.sent_orders import two_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from waybill.operations.audit import Report
    from waybill.operations.bench.confirmations import Tally
    from waybill.operations.bench.phase import Progress
    from waybill.operations.bench.stand_ins import StandIn
    from waybill.operations.bench.target import OutagePlan, Target
    from waybill.operations.history import History
    from waybill.operations.plan import Result

CALLS: Final = "deliveries_attempts_total"
FAILURES: Final = ("failed", "unknown")
LOOK_SECONDS: Final = 0.05
GETS_MAX: Final = 200
"""So many orders are looked at by GET before the other side is back."""
GET_SECONDS_MAX: Final = 10.0
_OK: Final = 200
_GOOD = "SELECT id::text AS id FROM app.orders WHERE status = $1"


class _Shown(msgspec.Struct):
    status: str = ""


@dataclass(frozen=True)
class Away:
    """What was measured, and what the audit says of it."""

    outage: Outage
    report: Report


async def measure_outage(
    target: Target, plan: OutagePlan, stand_in: StandIn, *, history: Path, progress: Progress
) -> Away:
    """Raises MessagingError if it could not be measured: nobody called, or the books differ."""
    await raise_stock(_plan(target, rate=0, seconds=0, connections=0))
    with HistoryWriter(history) as writer:
        rows = OrderRows(
            target.auditor_urls[ORDER],
            process=target.blueprint.order_process,
            look_seconds=LOOK_SECONDS,
        )
        async with rows as confirmations, Sampler(target, confirmations) as sampler:
            run = _Run(target, plan, stand_in, confirmations, sampler, writer, progress)
            outage = await run.measured()
    if strange := stand_in.unlike(await _good(target)):
        raise BenchFailedError(
            f"{len(strange)} orders are in one of the books alone, ours or those of "
            f"{outage.target}: {', '.join(sorted(strange)[:5])}"
        )
    progress.step("outage: audit")
    options = AuditOptions(
        blueprint=target.blueprint,
        settle_seconds=AUDIT_SETTLE_SECONDS,
        history=history,
        elsewhere=stand_in.unused,
        kafka=target.kafka,
    )
    report = await audit(target.auditor_urls, options)
    samples = tuple(sampler.samples)
    return Away(msgspec.structs.replace(outage, audit=report.told(), samples=samples), report)


def _plan(target: Target, *, rate: float, seconds: float, connections: int) -> Plan:
    return Plan(
        rate=rate,
        seconds=seconds,
        connections=connections,
        host=target.host,
        port_base=target.port_base,
        blueprint=target.blueprint,
        contents=two_lines(target.blueprint),
        token=target.token,
        caller=target.caller,
    )


async def _good(target: Target) -> set[str]:
    connection = await asyncpg.connect(target.auditor_urls[ORDER])
    try:
        rows = await connection.fetch(_GOOD, target.blueprint.order_process.confirmed.status)
    finally:
        await connection.close()
    return {row["id"] for row in rows}


@dataclass(frozen=True)
class _Before:
    """What there was in the moment before the other side came back."""

    good: int
    shown: Counter[str]
    failed_calls: int


@dataclass(frozen=True)
class _Run:
    target: Target
    plan: OutagePlan
    stand_in: StandIn
    confirmations: OrderRows
    sampler: Sampler
    history: HistoryWriter
    progress: Progress

    async def measured(self) -> Outage:
        """All but the audit."""
        plan, who = self.plan, self.target.blueprint.workload.target.name
        rest = Rest(self.target, self.confirmations, plan.settle_seconds_max)
        self.progress.step("outage: orders before it", plan.warm_up_seconds)
        await self._send(plan.warm_up_seconds, self.history, [])
        await rest.until_ended()
        await rest.until_quiet()
        tally, answers = self.confirmations.begin(), FirstAnswers(self.history)
        self.progress.step(f"outage: {who} is away", plan.seconds)
        began = time.perf_counter()
        before, back, sending = await self._while_away(tally, answers)
        self.progress.step(f"outage: {who} is back, until all is settled")
        accepted = (await sending).accepted
        if not before.failed_calls:
            raise BenchFailedError(f"nobody called {who} while it was away: there was no outage")
        await rest.until_ended()
        ended = time.perf_counter()
        await rest.until_quiet(parked_too=True)
        settled = time.perf_counter()
        return Outage(
            target=who,
            rate=plan.rate,
            seconds=back - began,
            began_seconds=self.sampler.since_start(began),
            answers=answers.answered(),
            accepted=accepted,
            good_when_back=before.good,
            shown_when_back=dict(before.shown),
            failed_calls=before.failed_calls,
            ended_seconds=ended - back,
            settled_seconds=settled - back,
            confirmed=len(tally.written),
            cancelled=tally.cancelled,
        )

    async def _while_away(
        self, tally: Tally, answers: FirstAnswers
    ) -> tuple[_Before, float, asyncio.Task[Result]]:
        """Send, look, and open the gate again; what is still under way then goes on."""
        failed = await self._failed_calls()
        orders: list[str] = []
        await self.stand_in.gate.shut()
        sending = asyncio.create_task(self._send(self.plan.seconds, answers, orders))
        try:
            await asyncio.sleep(self.plan.seconds)
            before = _Before(
                good=len(tally.written),
                shown=await self._shown(orders),
                failed_calls=round(await self._failed_calls() - failed),
            )
        except BaseException:
            sending.cancel()
            raise
        await self.stand_in.gate.open()
        return before, time.perf_counter(), sending

    async def _failed_calls(self) -> float:
        """By whoever calls it, so far."""
        port = self.target.port_base + self.target.blueprint.workload.target.caller
        return sum(
            [
                await metric(self.target.host, port, CALLS, f'outcome="{outcome}"')
                for outcome in FAILURES
            ]
        )

    async def _send(self, seconds: float, history: History, orders: list[str]) -> Result:
        rate, connections = self.plan.rate, self.plan.connections
        load = _plan(self.target, rate=rate, seconds=seconds, connections=connections)

        def accepted(order: bytes, intended: float) -> None:
            self.sampler.accepted += 1
            self.confirmations.accepted(order, intended)
            orders.append(order.decode())

        return await Generator(load, history=history, accepted=accepted).run()

    async def _shown(self, orders: Sequence[str]) -> Counter[str]:
        """What GET shows of some of them, from the first to the last."""
        path = self.target.blueprint.orders.contract.path
        headers = _plan(self.target, rate=0, seconds=0, connections=0).authorization
        connection = Connection(self.target.host, self.target.port_base + 1)
        shown: Counter[str] = Counter()
        try:
            for order in orders[:: -(-len(orders) // GETS_MAX) or 1]:
                async with asyncio.timeout(GET_SECONDS_MAX):
                    answer = await connection.request("GET", f"{path}/{order}", headers=headers)
                is_found = answer.status == _OK
                found = msgspec.json.decode(answer.body, type=_Shown).status if is_found else ""
                shown[found or f"HTTP {answer.status}"] += 1
        except (OSError, msgspec.MsgspecError) as error:
            raise BenchFailedError(f"GET of an order during the outage: {error}") from error
        finally:
            connection.close()
        return shown
