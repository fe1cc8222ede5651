"""`python -m benchmarks.edge`: what the gateway adds to a request, and what a token costs.

The gateway has one core to itself; the stub behind it and the load share the rest. Each round
asks the stub directly and through the gateway, in turn. The status is 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey

from benchmarks.edge_side import AUDIENCE, ISSUER, ORDER, verifier
from waybill.messaging.runtime.clock import SystemClock
from waybill.operations.http_client import Connection
from waybill.platform.demonstration import free_port_base
from waybill.platform.event_loop import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADDED_P50_MS_MAX: Final = 3.0
PROXIED_A_SECOND_MIN: Final = 1_500.0
VERIFIED_US_MAX: Final = 250.0
REMEMBERED_US_MAX: Final = 20.0
"""Throughput and latency that the edge is held to."""
RATE: Final = 300.0
PATH: Final = "/api/orders/0197a9f0-0000-7000-8000-000000000000"
TOKENS, TIMES = 500, 20_000
STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Figure:
    """What was measured, in each round."""

    what: str
    unit: str
    must: float
    rounds: Sequence[float]
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """By the median of the rounds."""
        found = median(self.rounds)
        return found >= self.must if self.at_least else found < self.must

    def line(self) -> str:
        """Of the table."""
        sign = ">=" if self.at_least else "<"
        spread = f"{min(self.rounds):,.2f} to {max(self.rounds):,.2f}, n={len(self.rounds)}"
        verdict = "met" if self.is_met else "missed"
        must = f"{sign} {self.must:,.0f} {self.unit}"
        return f"| {self.what} | {must} | {median(self.rounds):,.2f} ({spread}) | {verdict} |"


class Signer:
    """An issuer with one key."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", auto_kid=True)
        public = {**self._key.as_dict(private=False), "use": "sig", "alg": "ES256"}
        self.keys = json.dumps({"keys": [public]})

    def token(self, number: int) -> bytes:
        """A good one, of another customer for each number."""
        now = int(time.time())  # noqa: TID251 - a token tells the time of day
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"aaaaaaaa-aaaa-4aaa-8aaa-{number:012x}",
            "iat": now,
            "exp": now + 900,
            "jti": str(number),
            "roles": ["customer"],
        }
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"]).encode()


@contextmanager
def side(which: str, **told: Any) -> Iterator[None]:  # noqa: ANN401 - JSON
    """Another process, from ready to its end."""
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.edge_side", which],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - as above
    try:
        process.stdin.write(json.dumps(told))
        process.stdin.close()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the {which} did not start")
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def paced(port: int, headers: str, *, seconds: float) -> float:
    """The p50 in milliseconds of GETs at the rate, from when each was meant to be sent."""
    connections = [Connection("127.0.0.1", port) for _ in range(16)]
    idle, found, running = list(connections), [], set[asyncio.Task[None]]()

    async def one(intended: float) -> None:
        connection = idle.pop() if idle else Connection("127.0.0.1", port)
        await _get(connection, headers)
        found.append(time.perf_counter() - intended)
        idle.append(connection)

    began = time.perf_counter()
    for ticket in range(int(seconds * RATE)):
        intended = began + ticket / RATE
        if (wait := intended - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(intended))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in idle:
        connection.close()
    return median(found) * 1_000


async def flat_out(port: int, headers: str, *, seconds: float, connections: int = 32) -> float:
    """GETs a second."""
    count, end = 0, time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal count
        connection = Connection("127.0.0.1", port)
        while time.perf_counter() < end:
            await _get(connection, headers)
            count += 1
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(connections)))
    return count / (time.perf_counter() - began)


async def _get(connection: Connection, headers: str) -> None:
    answer = await connection.request("GET", PATH, headers=headers)
    if answer.status != 200 or answer.body != ORDER:
        raise RuntimeError(f"GET answered {answer.status}: {answer.body[:200]!r}")


async def verification(signer: Signer) -> tuple[float, float]:
    """Microseconds of a token that is new, and of one that is remembered."""
    checked = verifier(signer.keys, SystemClock())
    await checked.verify(signer.token(TOKENS))  # the keys are fetched by it
    tokens = [signer.token(number) for number in range(TOKENS)]
    began = time.perf_counter()
    for token in tokens:
        await checked.verify(token)
    new = (time.perf_counter() - began) / TOKENS
    if checked.signatures != TOKENS + 1:
        raise RuntimeError("not every token's signature was verified")
    began = time.perf_counter()
    for _ in range(TIMES):
        await checked.verify(tokens[-1])
    return new * 1e6, (time.perf_counter() - began) / TIMES * 1e6


async def measure(rounds: int, seconds: float) -> list[Figure]:
    """All figures. The order of direct and proxied turns round by round."""
    signer, base = Signer(), free_port_base()
    stub, gateway = base, base + 1
    cores = sorted(os.sched_getaffinity(0))
    rest = cores[1:] or cores
    headers = f"Authorization: Bearer {signer.token(0).decode()}\r\n"
    added, proxied, new, known = [], [], [], []
    with ExitStack() as stack:
        stack.enter_context(side("stub", port=stub, cores=rest))
        upstream = f"http://127.0.0.1:{stub}"
        stack.enter_context(
            side("gateway", port=gateway, cores=cores[:1], upstream=upstream, keys=signer.keys)
        )
        os.sched_setaffinity(0, rest)
        await flat_out(gateway, headers, seconds=1.0)  # warm
        for number in range(rounds):
            ports = [stub, gateway] if number % 2 == 0 else [gateway, stub]
            p50 = {port: await paced(port, headers, seconds=seconds) for port in ports}
            added.append(p50[gateway] - p50[stub])
            proxied.append(await flat_out(gateway, headers, seconds=seconds))
            one, other = await verification(signer)
            new.append(one)
            known.append(other)
    return [
        Figure(f"p50 that the gateway adds at {RATE:.0f}/s", "ms", ADDED_P50_MS_MAX, added),
        Figure(
            "small GETs through the gateway", "/s", PROXIED_A_SECOND_MIN, proxied, at_least=True
        ),
        Figure("a token is verified", "us", VERIFIED_US_MAX, new),
        Figure("a token is remembered", "us", REMEMBERED_US_MAX, known),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; 0 if every figure is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    figures = run(measure(options.rounds, options.seconds))
    lines = [
        f"load at the start {load:.2f}; gateway on one core of {os.cpu_count()}",
        "",
        "| | must | measured: median (min to max) | |",
        "|---|---|---|---|",
        *(figure.line() for figure in figures),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(figure.is_met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
