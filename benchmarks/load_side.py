"""One side that is Waybill: start it, load it over HTTP, count in a window, let it settle, audit.

Only orders that the order service counted as CONFIRMED within the window count, and only if the
audit afterwards finds nothing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.cluster import value
from benchmarks.kafka_broker import running_kafka
from benchmarks.platform_processes import PLANS, running
from benchmarks.proof import prove
from waybill.operations.http_client import Connection
from waybill.operations.load import Plan, raise_stock, run
from waybill.operations.sent_orders import two_lines
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.effort import Effort
    from benchmarks.platform_processes import PlatformProcesses, Topology
    from waybill.operations.sent_orders import Content

SETTLE_SECONDS_MAX = 120.0
LONGER_SECONDS = 0.2
"""The load outlasts its window, so that the last look still sees all of it."""
OPEN = "SELECT count(*) FROM app.orders WHERE settled_at IS NULL"
OWED = "SELECT count(*) FROM messaging.deliveries WHERE state = 'PENDING'"


class NotSettledError(Exception):
    """Orders were accepted and did not end in time."""


@dataclass(frozen=True)
class Rates:
    """What the platform did in the window, per second; `orders` is all that it accepted."""

    accepted: float
    confirmed: float
    read: float
    """Messages that its consumers took."""
    orders: int
    seconds: float


async def _nothing(_: Path) -> None:
    pass


@dataclass(frozen=True)
class Scenario:
    """What makes a side another one than the plain load."""

    topology: Topology = "one process"
    kafka: bool = False
    """On a broker of its own, in place of the outboxes."""
    alone: str = ""
    """Only this service runs under the load, in a process of its own; the others come after it."""
    rate: float = 0.0
    """Orders/s; 0: as many as the connections carry."""
    contents: Sequence[Content] = field(default_factory=two_lines)
    environment: Mapping[str, str] = field(default_factory=dict)
    before_start: Callable[[Path], Awaitable[None]] = _nothing
    """On a server of these data, before the platform is started."""
    prepare: Callable[[Path], Awaitable[None]] = _nothing
    """On the running platform, before the load."""
    beside: Callable[[Path], Awaitable[None]] | None = None
    """Runs along with the load, and is cancelled with it."""
    mend: Callable[[Path], Awaitable[None]] = _nothing
    """After the load, before every order must settle."""


async def measure(data: Path, effort: Effort, scenario: Scenario, *, audit: bool = True) -> Rates:
    """Load a platform on these data. Raises if an order is lost or the audit finds anything."""
    async with EmbeddedPostgres(data):
        await scenario.before_start(data)
    if scenario.kafka:
        async with running_kafka(data) as kafka:
            environment = {**scenario.environment, "KAFKA_BROKERS": kafka.bootstrap}
            beside = replace(scenario, kafka=False, environment=environment)
            return await measure(data, effort, beside, audit=audit)
    async with running(data, scenario.topology, scenario.environment) as platform:
        await fill(platform)
        await scenario.prepare(data)
        if scenario.alone:
            await platform.stop(but=scenario.alone)
        rates = await load(platform, effort, scenario)
        await platform.start()
        await scenario.mend(data)
        await settled(data)
        if audit:
            await prove(data)
    return rates


async def fill(platform: PlatformProcesses) -> None:
    """Give it stock for every order that may come."""
    await raise_stock(Plan(rate=0, seconds=0, connections=0, port_base=platform.port_base))


async def load(platform: PlatformProcesses, effort: Effort, scenario: Scenario) -> Rates:
    """Send orders and count in the window; returns when all of them were sent."""
    async with under_load(platform, effort, scenario, effort.warm_up_seconds + effort.seconds):
        await asyncio.sleep(effort.warm_up_seconds)
        before = await look(platform)
        await asyncio.sleep(effort.seconds)
        after = await look(platform)
    return rates_between(before, after)


@asynccontextmanager
async def under_load(
    platform: PlatformProcesses, effort: Effort, scenario: Scenario, seconds: float
) -> AsyncIterator[None]:
    """Orders are sent for so many seconds, whatever is done meanwhile; ends when all are sent."""
    plan = _plan(platform, effort, scenario, seconds)
    beside = asyncio.ensure_future((scenario.beside or _nothing)(platform.data))
    sending = asyncio.ensure_future(run(plan))
    try:
        yield
        await sending
        if beside.done():
            beside.result()  # it should have gone on: say why it did not
    finally:
        sending.cancel()
        beside.cancel()
        await asyncio.gather(sending, beside, return_exceptions=True)


def _plan(platform: PlatformProcesses, effort: Effort, scenario: Scenario, seconds: float) -> Plan:
    return Plan(
        rate=scenario.rate,
        seconds=seconds + LONGER_SECONDS,
        connections=effort.connections,
        port_base=platform.port_base,
        contents=scenario.contents,
    )


@dataclass(frozen=True)
class Look:
    """Counters of a platform at one moment."""

    at: float
    created: float
    confirmed: float
    read: float


def rates_between(before: Look, after: Look) -> Rates:
    """What was done per second between two looks.

    Orders of the time before that were confirmed in between are no rate that would last: no more
    count as confirmed than were accepted.
    """
    seconds = after.at - before.at
    accepted = (after.created - before.created) / seconds
    return Rates(
        accepted=accepted,
        confirmed=min(accepted, (after.confirmed - before.confirmed) / seconds),
        read=(after.read - before.read) / seconds,
        orders=round(after.created),
        seconds=seconds,
    )


async def look(platform: PlatformProcesses) -> Look:
    """Read the counters of all services; the order service's moment counts."""
    orders = await _metrics(platform, "order")
    at = time.monotonic()
    others = [await _metrics(platform, name) for name in platform.services if name != "order"]
    return Look(
        at=at,
        created=_sum(orders, "orders_created_total"),
        confirmed=_sum(orders, "orders_confirmed_total"),
        read=sum(
            _sum(text, "inbox_processed_total", 'result="processed"') for text in (orders, *others)
        ),
    )


async def _metrics(platform: PlatformProcesses, name: str) -> str:
    connection = Connection("127.0.0.1", platform.port_base + PLANS[name].port_offset)
    try:
        return (await connection.request("GET", "/metrics")).body.decode()
    finally:
        connection.close()


def _sum(text: str, name: str, label: str = "") -> float:
    """A counter over all of its labels, or over those with this one."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name}{{", f"{name} ")) and label in line
    )


async def settled(data: Path) -> None:
    """Wait until every order has ended and nothing is owed any more."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while await _under_way(data):
        if time.monotonic() > deadline:
            raise NotSettledError(f"orders did not end within {SETTLE_SECONDS_MAX:.0f} s")
        await asyncio.sleep(0.1)


async def _under_way(data: Path) -> bool:
    if await value(data, "order", OPEN):
        return True
    if await value(data, "payment", OWED) or await value(data, "notification", OWED):
        return True
    if await value(data, "inventory", "SELECT sum(reserved) FROM app.products"):
        return True
    told = await value(data, "notification", "SELECT count(*) FROM app.notifications")
    placed = await value(data, "order", "SELECT count(*) FROM app.orders")
    return bool(told != placed)
