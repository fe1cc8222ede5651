"""The load generator: open-loop orders at a rate, or as many as N connections carry.

Latency counts from the *intended* send time, so a platform that stalls cannot hide it. Throughput
counts CONFIRMED orders only, read from the order service's own counter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field

from waybill.messaging.core.identity import new_id
from waybill.operations.http_client import Connection

CUSTOMER = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
PRODUCTS = tuple(
    f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "12345"
)
POLL_SECONDS = 0.002
POLL_GROWTH = 1.1
"""Each look waits a little longer than the one before."""
STOCK = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """What to send. `rate` is orders per second; 0 means as fast as the connections carry."""

    rate: float
    seconds: float
    connections: int
    host: str = "127.0.0.1"
    port_base: int = 8080
    watch_every: int = 0
    """Poll each n-th order until it ends; 0: none. A sample, so that looking is no load."""


@dataclass
class Result:
    """What came of it. Latencies in seconds."""

    accepted: int = 0
    refused: int = 0
    post_latencies: list[float] = field(default_factory=list)
    confirm_latencies: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    seconds: float = 0.0
    confirmed: float = 0.0


def order_body(number: int) -> bytes:
    """A two-line order over the five seeded products."""
    items = [
        {"productId": PRODUCTS[number % 5], "quantity": 1, "unitPrice": 29.99},
        {"productId": PRODUCTS[(number + 2) % 5], "quantity": 2, "unitPrice": 5.25},
    ]
    return json.dumps({"customerId": CUSTOMER, "items": items, "currency": "EUR"}).encode()


async def raise_stock(plan: Plan) -> None:
    """Give every seeded product plenty of stock, by PUT."""
    connection = Connection(plan.host, plan.port_base + 3)
    for product in PRODUCTS:
        answer = await connection.request("GET", f"/api/products/{product}")
        name = json.loads(answer.body)["name"]
        body = json.dumps({"name": name, "stock": STOCK}).encode()
        answer = await connection.request(
            "PUT", f"/api/products/{product}", body, headers="Content-Type: application/json\r\n"
        )
        if answer.status != 200:  # noqa: PLR2004 - the status that PUT promises
            message = f"PUT of stock answered {answer.status}: {answer.body.decode()}"
            raise RuntimeError(message)
    connection.close()


async def counter(plan: Plan, name: str) -> float:
    """A counter of the order service, summed over its labels."""
    connection = Connection(plan.host, plan.port_base + 1)
    answer = await connection.request("GET", "/metrics")
    connection.close()
    return sum(
        float(line.rpartition(" ")[2])
        for line in answer.body.decode().splitlines()
        if line.startswith(name) and line[len(name)] in " {"
    )


async def run(plan: Plan) -> Result:
    """Send the plan's orders; what was confirmed is counted at the end of the sending."""
    result = Result()
    before = await counter(plan, "orders_confirmed_total")
    started = time.perf_counter()
    workers = [_worker(plan, result, started, number) for number in range(plan.connections)]
    await asyncio.gather(*workers)
    result.seconds = time.perf_counter() - started
    result.confirmed = await counter(plan, "orders_confirmed_total") - before
    return result


async def _worker(plan: Plan, result: Result, started: float, number: int) -> None:
    post = Connection(plan.host, plan.port_base + 1)
    watch = Connection(plan.host, plan.port_base + 1)
    turn = 0
    while True:
        interval = plan.connections / plan.rate if plan.rate else 0.0
        intended = started + (number / plan.connections + turn) * interval if interval else None
        now = time.perf_counter()
        if (intended or now) >= started + plan.seconds:
            break
        if intended is not None and intended > now:
            await asyncio.sleep(intended - now)
        place = turn * plan.connections + number
        order = await _place(post, place, result, intended or now)
        if plan.watch_every and place % plan.watch_every == 0 and order is not None:
            await _watch(watch, order, result, intended or now)
        turn += 1
    post.close()
    watch.close()


async def _place(post: Connection, number: int, result: Result, intended: float) -> str | None:
    headers = f"Content-Type: application/json\r\nIdempotency-Key: {new_id()}\r\n"
    answer = await post.request("POST", "/api/orders", order_body(number), headers=headers)
    result.post_latencies.append(time.perf_counter() - intended)
    if answer.status != 201:  # noqa: PLR2004 - the status that POST promises
        result.refused += 1
        return None
    result.accepted += 1
    order = answer.body[7:43].decode()
    result.ids.append(order)
    return order


async def _watch(connection: Connection, order: str, result: Result, intended: float) -> None:
    pause = POLL_SECONDS
    while True:
        answer = await connection.request("GET", f"/api/orders/{order}")
        if b'"CONFIRMED"' in answer.body:
            result.confirm_latencies.append(time.perf_counter() - intended)
            return
        if b'"CANCELLED"' in answer.body:
            return
        await asyncio.sleep(pause)
        pause *= POLL_GROWTH


def percentile(values: list[float], percent: int) -> float:
    """The `percent` percentile in milliseconds; NaN without values."""
    if len(values) < 2:  # noqa: PLR2004 - quantiles need two points
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] * 1000


def report(result: Result) -> str:
    """The figures, a line each."""
    lines = [
        (
            f"accepted {result.accepted} ({result.accepted / result.seconds:.0f}/s), "
            f"refused {result.refused}, in {result.seconds:.1f} s"
        ),
        (
            f"confirmed while sending {result.confirmed:.0f} "
            f"({result.confirmed / result.seconds:.0f}/s)"
        ),
        (
            f"POST p50 {percentile(result.post_latencies, 50):.1f} ms, "
            f"p99 {percentile(result.post_latencies, 99):.1f} ms"
        ),
    ]
    if result.confirm_latencies:
        lines.append(
            f"POST to CONFIRMED p50 {percentile(result.confirm_latencies, 50):.1f} ms, "
            f"p99 {percentile(result.confirm_latencies, 99):.1f} ms"
        )
    return "\n".join(lines)


def main() -> int:
    """`python -m waybill.operations.load --rate 50 --seconds 60`."""
    parser = argparse.ArgumentParser(description="Send two-line orders to a running platform.")
    parser.add_argument("--rate", type=float, default=0.0, help="orders/s; 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--port-base", type=int, default=8080)
    parser.add_argument(
        "--watch-every", type=int, default=0, help="poll each n-th order until it ends; 0: none"
    )
    parser.add_argument("--raise-stock", action="store_true", help="set stock by PUT first")
    options = parser.parse_args()
    plan = Plan(
        rate=options.rate,
        seconds=options.seconds,
        connections=options.connections,
        port_base=options.port_base,
        watch_every=options.watch_every,
    )

    async def all_of_it() -> Result:
        if options.raise_stock:
            await raise_stock(plan)
        return await run(plan)

    result = asyncio.run(all_of_it())
    sys.stdout.write(report(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
