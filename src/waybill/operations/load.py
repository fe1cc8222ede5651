"""The load generator as a command: `python -m waybill.operations.load --rate 50 --seconds 60`.

Throughput counts CONFIRMED orders only, read from the order service's own counter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT, blueprint_named
from waybill.messaging.core.errors import MessagingError
from waybill.operations.generator import Generator
from waybill.operations.history import HistoryWriter
from waybill.operations.http_client import Connection
from waybill.operations.metrics import metric
from waybill.operations.percentiles import Percentiles
from waybill.operations.plan import Plan, Result
from waybill.operations.sent_orders import CUSTOMER, NUMBERS, PRODUCTS
from waybill.operations.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CUSTOMER", "PRODUCTS", "Load", "Plan", "counter", "main", "raise_stock", "run"]

STOCK = 1_000_000_000
WATCH_SECONDS = 10.0
"""How long the watched orders may take after the last one was sent."""


@dataclass
class Load:
    """A plan's result, and what the platform confirmed of it while it was sent."""

    result: Result
    confirmed: float
    watched: Sequence[float]


class StockNotRaisedError(MessagingError):
    """The inventory service refused the stock that a load needs."""


async def raise_stock(plan: Plan, count: int = STOCK) -> None:
    """Give every product of the usual orders plenty of stock, or so many units, by PUT."""
    level = plan.blueprint.workload.stock
    connection = Connection(plan.host, plan.port_base + level.port)
    for number in NUMBERS:
        path = level.path(number)
        asked = await connection.request("GET", path, headers=plan.authorization)
        known = json.loads(asked.body)
        body = json.dumps(level.holding(count, known.get("name", f"Product {number}"))).encode()
        answer = await connection.request(
            "PUT", path, body, headers=f"Content-Type: application/json\r\n{plan.authorization}"
        )
        if answer.status != 200:  # noqa: PLR2004 - the status that PUT promises
            raise StockNotRaisedError(
                f"PUT of stock answered {answer.status}: {answer.body.decode(errors='replace')}"
            )
    connection.close()


async def counter(plan: Plan, name: str) -> float:
    """A counter of the order service, summed over its labels."""
    return await metric(plan.host, plan.port_base + 1, name)


async def run(plan: Plan, *, history: HistoryWriter | None = None, watch_every: int = 0) -> Load:
    """Send the plan's orders; what was confirmed is counted at the end of the sending.

    `watch_every`: look at each n-th order by GET until it ends; 0: at none.
    """
    watcher = Watcher(plan.host, plan.port_base + 1, every=watch_every, blueprint=plan.blueprint)
    before = await counter(plan, "orders_confirmed_total")
    result = await Generator(plan, history=history, accepted=watcher.accepted).run()
    confirmed = await counter(plan, "orders_confirmed_total") - before
    await watcher.close(WATCH_SECONDS)
    return Load(result, confirmed, watcher.latencies)


def report(load: Load) -> str:
    """The figures, a line each."""
    result = load.result
    refused = ", ".join(f"{count} by {why}" for why, count in sorted(result.refused.items()))
    lines = [
        (
            f"accepted {result.accepted} ({result.accepted / result.seconds:.0f}/s) "
            f"in {result.seconds:.1f} s; refused {refused or 'none'}; unknown {result.unknown}"
        ),
        f"confirmed while sending {load.confirmed:.0f} ({load.confirmed / result.seconds:.0f}/s)",
        _latency("POST", result.latencies),
    ]
    if load.watched:
        lines.append(_latency("POST to CONFIRMED", load.watched))
    return "\n".join(lines)


def _latency(what: str, samples: Sequence[float]) -> str:
    found = Percentiles(samples)
    return (
        f"{what} p50 {found.milliseconds(50):.1f} ms, p99 {found.milliseconds(99):.1f} ms, "
        f"max {found.milliseconds(100):.1f} ms"
    )


def main() -> int:
    """Read the command line, send, and say what came of it."""
    options = _parser().parse_args()
    plan = Plan(
        rate=options.rate,
        seconds=options.seconds,
        connections=options.connections,
        port_base=options.port_base,
        timeout_seconds=options.timeout_seconds,
        cancel_every=options.cancel_every,
        repeat_every=options.repeat_every,
        blueprint=blueprint_named(options.blueprint),
    )

    async def all_of_it(history: HistoryWriter | None) -> Load:
        if options.raise_stock:
            await raise_stock(plan)
        return await run(plan, history=history, watch_every=options.watch_every)

    try:
        with ExitStack() as stack:
            history = options.history and stack.enter_context(HistoryWriter(options.history))
            # uvloop takes half of asyncio's CPU an order, and the platform is to have it
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            load = runner.run(all_of_it(history))
    except (MessagingError, OSError) as error:
        sys.stderr.write(f"load: {error}\n")
        return 1
    sys.stdout.write(report(load) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Send two-line orders to a running platform.")
    parser.add_argument("--rate", type=float, default=0.0, help="orders/s; 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--port-base", type=int, default=8080)
    parser.add_argument("--timeout-seconds", type=float, default=10.0, help="of one request")
    parser.add_argument("--blueprint", default=DEFAULT.name, choices=BLUEPRINTS)
    every = {
        "watch": "look at each n-th order until it ends",
        "cancel": "cancel each n-th order",
        "repeat": "send each n-th request a second time",
    }
    for what, text in every.items():
        parser.add_argument(f"--{what}-every", type=int, default=0, help=f"{text}; 0: none")
    parser.add_argument("--raise-stock", action="store_true", help="set stock by PUT first")
    parser.add_argument("--history", type=Path, help="write each request there (docs/history.md)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
