"""The platform that `waybill bench` measures: one of its own, or one that runs already.

A platform of its own runs as users run it, in processes of its own, and ends with the bench,
however that ends: a bench that is killed takes it along (on Linux).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from waybill.messaging.adapters.kafka.settings import KafkaSettings, without_brokers
from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.bench.target import Target
from waybill.platform.background import holders, readiness
from waybill.platform.chosen import DATABASE, chosen
from waybill.platform.databases import databases_of
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.cluster import Cluster
from waybill.platform.embedded.launch import told_of_our_end
from waybill.platform.embedded.processes import processes_of
from waybill.platform.empty_topics import require_empty_topics
from waybill.platform.operator_token import CALLER, operator_token
from waybill.platform.provisioning import urls_of
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from waybill.platform.settings import Settings

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 40.0
POLL_SECONDS: Final = 0.05
Line = tuple[str, ...]
"""Of a command: what is served."""
ORDER: Final[Line] = ("serve", "order")
PAYS: Final = {"PAYMENT_SIMULATE_FORCEOUTCOME": "success"}
"""Every payment succeeds, so that every accepted order is to be confirmed."""


@asynccontextmanager
async def own_platform(
    settings: Settings, *, processes: bool, kafka: bool, around: Mapping[str, str]
) -> AsyncIterator[Target]:
    """Start one, in one process or in one a service, and stop it at the end.

    `around` is its environment. With `kafka` on the brokers of KAFKA_BROKERS, else without them
    whatever that says. Raises ConfigurationError if it names none.
    """
    environment = {**PAYS, **(around if kafka else without_brokers(around))}
    brokers = KafkaSettings.from_environment(environment)
    if kafka and brokers is None:
        raise ConfigurationError(
            "--log kafka needs KAFKA_BROKERS: give host:port, or run `make kafka-up` and set it to "
            "127.0.0.1:29092"
        )
    environment["WAYBILL_BLUEPRINT"] = chosen(settings).name
    data = settings.data_directory.absolute()
    if not (data / DATABASE).exists():
        await require_empty_topics(brokers, chosen(settings))
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    processes_of_it = Processes(settings, data, environment, apart=processes)
    try:
        await processes_of_it.start()
        target = target_of(settings, processes_of_it.pids)
        others = processes_of_it if processes else None
        yield replace(target, kafka=brokers, python=lambda: processes_of_it.pids, others=others)
    finally:
        await processes_of_it.end()


@asynccontextmanager
async def running_platform(settings: Settings) -> AsyncIterator[Target]:
    """The one that runs on these data and ports. Raises ConfigurationError if none does."""
    found = list(holders(settings.data_directory.absolute() / "lock"))
    if not found:
        raise ConfigurationError(
            f"nothing runs on {settings.data_directory}: start it with `waybill up`, or leave "
            "--running out"
        )
    states = await asyncio.to_thread(readiness, settings)
    if set(states.values()) != {"UP"}:
        told = ", ".join(f"{name}: {state}" for name, state in states.items())
        raise ConfigurationError(f"the platform is not ready on --port-base ({told})")
    yield target_of(settings, found)


def target_of(settings: Settings, pids: Sequence[int]) -> Target:
    """How to reach and to watch the platform of these processes."""
    data = settings.data_directory.absolute()
    server, token = EmbeddedPostgres(data), operator_token(settings)
    urls = {service: urls_of(server, service) for service in databases_of(chosen(settings))}
    ports = [settings.port_base + plan.port_offset for plan in plans_of(chosen(settings)).values()]
    return Target(
        blueprint=chosen(settings),
        host=settings.host,
        port_base=settings.port_base,
        process_ports=ports if len(pids) > 1 else ports[:1],
        urls={service: found.service for service, found in urls.items()},
        owner_urls={service: found.owner for service, found in urls.items()},
        auditor_urls={service: found.auditor for service, found in urls.items()},
        order_reader_url=urls["order"].reader,
        data_directory=data,
        token=token,
        caller=CALLER if token else "",
        python=lambda: pids,
        postgres=partial(processes_of, Cluster(data).files),
    )


class Processes:
    """Of one platform: one for all services, or one a service."""

    def __init__(
        self, settings: Settings, data: Path, environment: Mapping[str, str], *, apart: bool
    ) -> None:
        self._settings = settings
        self._data = data
        self._environment = environment
        services = plans_of(chosen(settings))
        self._lines: list[Line] = [("serve", name) for name in services] if apart else [("up",)]
        self._running: dict[Line, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """Of those that run."""
        return tuple(process.pid for process in self._running.values())

    async def start(self) -> None:
        """Start those that do not run, the first one first: it also runs PostgreSQL.

        Returns when all are ready.
        """
        for line in self._lines:
            if line not in self._running:
                # at once among them: what was started before one fails is stopped, too
                self._running[line] = self._started(line)
                if len(self._running) == 1:
                    await self._ready(1)
        await self._ready(len(plans_of(chosen(self._settings))))

    async def stop(self) -> None:
        """End all but the order service's."""
        await self._stop([line for line in self._lines if line != ORDER])

    async def end(self) -> None:
        """End them all at once."""
        await self._stop(list(self._running))

    async def _stop(self, lines: Sequence[Line]) -> None:
        ended = [self._running.pop(line) for line in lines if line in self._running]
        await asyncio.to_thread(_stop, ended)

    def _started(self, line: Line) -> subprocess.Popen[bytes]:
        place = ("--data", str(self._data), "--port-base", str(self._settings.port_base))
        with self._log(line).open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "waybill", *line, *place],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=dict(self._environment),
                # Each thread of ours that ends may send it: a second SIGTERM would cut the drain.
                preexec_fn=told_of_our_end(signal.SIGKILL),  # noqa: PLW1509 - two system calls
            )

    async def _ready(self, wanted: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        while _up(await asyncio.to_thread(readiness, self._settings)) < wanted:
            for line, process in self._running.items():
                if process.poll() is not None:
                    raise ConfigurationError(self._last_word(line, process.returncode))
            if loop.time() > deadline:
                raise ConfigurationError(
                    f"not ready within {START_SECONDS:.0f} s: see {self._data}/*.log"
                )
            await asyncio.sleep(POLL_SECONDS)

    def _last_word(self, line: Line, status: int | None) -> str:
        words = self._log(line).read_text(errors="replace").strip().splitlines()
        last = words[-1] if words else f"it ended with status {status}"
        return last.removeprefix("waybill: ")

    def _log(self, line: Line) -> Path:
        return self._data / f"bench-{line[-1]}.log"


def _up(states: Mapping[str, str]) -> int:
    return sum(state == "UP" for state in states.values())


def _stop(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """All at once; the one that runs PostgreSQL may be among them."""
    for process in started:
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # as safe as SIGTERM, only that its books stay open
            process.kill()
            process.wait()
