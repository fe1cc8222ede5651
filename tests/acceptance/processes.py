"""Real processes: `waybill up` as a user starts it, on ports and a data folder of its own.

They are forked (see forking.py), which is a start without its imports.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2
import pytest
from tests.acceptance.forked import completed, started

from waybill.platform.embedded.processes import end_processes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from httpx2 import Response
    from tests.acceptance.forked import Program

T = TypeVar("T")
PORTS = 11
POLL_SECONDS, POLL_SECONDS_MAX = 0.02, 0.2
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Of clients that need none: making the usual one costs 20 ms of CPU."""
CUSTOMER = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
MOUSE = "11111111-1111-1111-1111-111111111111"
KEYBOARD = "22222222-2222-2222-2222-222222222222"


def free_port_base() -> int:
    """A port base whose block of ports is free right now."""
    for base in range(21000 + os.getpid() % 500 * 20, 60000, 20):
        try:
            for offset in range(PORTS):
                with closing(socket.socket()) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base
    raise RuntimeError("no free block of ports")


def wait_for(what: Callable[[], T | None], seconds: float, describe: str) -> T:
    """Poll until `what` gives something true, less often as it takes longer: looking costs CPU."""
    deadline, pause = time.monotonic() + seconds, POLL_SECONDS
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(pause)
        pause = min(pause * 1.3, POLL_SECONDS_MAX)
    pytest.fail(f"{describe}: not within {seconds} s")


OFFSETS = {"order": 1, "payment": 2, "inventory": 3, "notification": 4}
EDGE_OFFSETS = {"accounts": 6, "gateway": 0}


class PlatformProcess:
    """One `waybill up` or `waybill serve` in a process (and process group) of its own."""

    def __init__(
        self, data: Path, *, port_base: int, environment: dict[str, str], service: str = ""
    ) -> None:
        self.data = data
        self.service = service
        self.offsets: Mapping[str, int] = OFFSETS
        """The services' ports above the base."""
        self.without = frozenset[str]()
        """Services that the blueprint does not have."""
        self.has_edge = False
        """Whether accounts and gateway run beside the services."""
        self.as_customer: dict[str, str] = {}
        self.as_operator: dict[str, str] = {}
        """Headers that say so, where tokens are asked for."""
        self.port_base = port_base
        self.environment = environment
        self.log = data.parent / f"{service or 'platform'}-{port_base}.log"
        self.process: Program | None = None
        self.client = httpx2.Client(timeout=30, verify=NO_TLS)

    def command(self, *arguments: str) -> list[str]:
        """A `waybill` command line on this platform's data and ports."""
        place = ["--data", str(self.data), "--port-base", str(self.port_base)]
        return [sys.executable, "-m", "waybill", *arguments, *place]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `waybill` command to its end."""
        _, _, module, *rest = self.command(*arguments)
        return completed(module, *rest, environment=self.environment)

    def launch(self) -> Self:
        """Start without waiting."""
        arguments = ("serve", self.service) if self.service else ("up",)
        _, _, module, *rest = self.command(*arguments)
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            self.process = started(module, *rest, environment=self.environment, streams=streams)
        return self

    def start(self) -> Self:
        """Start and wait until every service is ready."""
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until every service answers that it is ready."""
        try:
            wait_for(self._ready, seconds, "every service ready")
        except pytest.fail.Exception:
            print(self.tail())  # noqa: T201 - pytest shows it
            raise

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the platform ended with {self.process.returncode}\n{self.tail()}")
        edge = EDGE_OFFSETS if self.has_edge else {}
        try:
            return all(
                self.client.get(f"{self.url(offset)}/readyz").status_code == 200
                for service, offset in {**self.offsets, **edge}.items()
                if self.service in {"", service} and service not in self.without
            )
        except httpx2.TransportError:
            return False

    def beside(self, service: str, *, port_base: int | None = None) -> PlatformProcess:
        """A process (not started) for one service on the same data, by default on our ports."""
        made = PlatformProcess(
            self.data,
            port_base=port_base or self.port_base,
            environment=self.environment,
            service=service,
        )
        made.offsets = self.offsets
        return made

    def url(self, offset: int) -> str:
        """Address of a service: order 1, payment 2, inventory 3, notification 4."""
        return f"http://127.0.0.1:{self.port_base + offset}"

    def kill(self) -> None:
        """SIGKILL everything at once: the platform and its PostgreSQL."""
        self.kill_process()
        end_processes(self.data / "postgres" / "data", at_once=True)

    def kill_process(self) -> None:
        """SIGKILL our process alone."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 25) -> int:
        """Ask it to stop; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def place(
        self,
        key: str,
        *,
        quantity: int = 1,
        product: str = MOUSE,
        client: httpx2.Client | None = None,
    ) -> Response:
        """POST one order at 29.99 apiece."""
        body = {
            "customerId": CUSTOMER,
            "items": [{"productId": product, "quantity": quantity, "unitPrice": 29.99}],
            "currency": "EUR",
        }
        return (client or self.client).post(
            f"{self.url(1)}/api/orders", json=body, headers={"Idempotency-Key": key}
        )

    def order(self, order_id: str) -> dict[str, Any]:
        """GET one order."""
        body: dict[str, Any] = self.client.get(f"{self.url(1)}/api/orders/{order_id}").json()
        return body

    def ended(self, order_id: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the order is terminal; the order."""

        def terminal() -> dict[str, Any] | None:
            order = self.order(order_id)
            return order if order["status"] in {"CONFIRMED", "CANCELLED"} else None

        return wait_for(terminal, seconds, f"order {order_id} ends")

    def products(self) -> dict[str, dict[str, Any]]:
        """Products by id."""
        answer = self.client.get(f"{self.url(3)}/api/products", headers=self.as_operator).json()
        return {product["id"]: product for product in answer["items"]}

    def raise_stock(self, stock: int = 1_000_000) -> None:
        """PUT that much stock of everything."""
        for product in self.products().values():
            answer = self.client.put(
                f"{self.url(3)}/api/products/{product['id']}",
                json={"name": product["name"], "stock": stock},
            )
            assert answer.status_code == 200, answer.text

    def close(self) -> None:
        """End what is left."""
        if self.process is not None and self.process.poll() is None:
            self.stop(seconds=30)
        self.client.close()
