"""Waybill's own processes, as a user starts them: one for all services, or one a service.

A service a process, some of them can be away for a while: the intake does not need the others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

import httpx2

from waybill.blueprints.catalogue import DEFAULT
from waybill.platform.demonstration import free_port_base
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

PLANS: Final = plans_of(DEFAULT)
"""Its services: what is measured is the default blueprint."""
Topology = Literal["one process", "a process a service"]
TOPOLOGIES: Final[tuple[Topology, ...]] = ("one process", "a process a service")
Command = tuple[str, str]
"""The command, and the one service that it is about."""
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
ENVIRONMENT: Final = {
    "WAYBILL_PAYMENT_FORCE_OUTCOME": "success",
    "WAYBILL_LOG_LEVEL": "warning",
}
"""Every payment succeeds, so that every order that is accepted must be confirmed."""


class PlatformFailedError(Exception):
    """The platform did not come up, or ended by itself."""


class PlatformProcesses:
    """The processes of one platform on one data directory."""

    def __init__(
        self, data: Path, topology: Topology, environment: Mapping[str, str], *, only: str = ""
    ) -> None:
        self.data = data
        self.port_base = free_port_base()
        self._log = data.with_suffix(".log")
        self._environment = {**os.environ, **ENVIRONMENT, **environment}
        self._commands: list[Command] = (
            [("up", "")]
            if topology == "one process"
            else [("serve", name) for name in PLANS if not only or name == only]
        )
        self._processes: dict[Command, subprocess.Popen[bytes]] = {}

    @property
    def services(self) -> tuple[str, ...]:
        """Those that run now."""
        if ("up", "") in self._processes:
            return tuple(PLANS)
        return tuple(name for _, name in self._processes)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that run now."""
        return tuple(process.pid for process in self._processes.values())

    async def start(self) -> None:
        """Start what does not run; return when every service is ready.

        The first process also runs PostgreSQL.
        """
        for command in self._commands:
            if command in self._processes:
                continue
            self._launch(command)
            if len(self._processes) < len(self._commands):
                await self._ready(1)
        await self._ready(len(self.services))

    async def stop(self, *, but: str = "") -> None:
        """Drain and end, PostgreSQL last; all but this service's process. May be repeated."""
        for command in reversed(tuple(self._processes)):
            if command == ("serve", but):
                continue
            process = self._processes.pop(command)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(_end, process)

    def _launch(self, command: Command) -> None:
        place = ("--data", str(self.data), "--port-base", str(self.port_base))
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "waybill", *filter(None, command), *place],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self._processes[command] = process

    async def _ready(self, wanted: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            while sum([await self._is_ready(client, name) for name in PLANS]) < wanted:
                if any(process.poll() is not None for process in self._processes.values()):
                    raise PlatformFailedError(f"a process ended by itself: {self.tail()}")
                if time.monotonic() > deadline:
                    raise PlatformFailedError(f"not ready in {READY_SECONDS:.0f} s: {self.tail()}")
                await asyncio.sleep(0.05)

    async def _is_ready(self, client: httpx2.AsyncClient, name: str) -> bool:
        url = f"http://127.0.0.1:{self.port_base + PLANS[name].port_offset}/readyz"
        try:
            return (await client.get(url)).is_success
        except httpx2.TransportError:
            return False

    def tail(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-1000:] if self._log.exists() else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@asynccontextmanager
async def running(
    data: Path,
    topology: Topology,
    environment: Mapping[str, str] | None = None,
    *,
    only: str = "",
) -> AsyncIterator[PlatformProcesses]:
    """A platform that is ready, for as long as this lasts; or a single service of it."""
    processes = PlatformProcesses(data, topology, environment or {}, only=only)
    try:
        await processes.start()
        yield processes
    finally:
        await processes.stop()
