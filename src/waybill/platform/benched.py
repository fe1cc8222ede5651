"""The platform that `waybill bench` measures: one of its own, or one that runs already.

A platform of its own runs as users run it, in processes of its own, and ends with the bench,
however that ends.
"""

from __future__ import annotations

import asyncio
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
    lines = (
        [("serve", service) for service in plans_of(chosen(settings))] if processes else [("up",)]
    )
    started: list[subprocess.Popen[bytes]] = []
    try:
        # one by one into the list: what was started before one fails is stopped, too
        started.extend(_start(settings, data, line, environment) for line in lines)
        await _until_ready(settings, data, started)
        yield replace(target_of(settings, [each.pid for each in started]), kafka=brokers)
    finally:
        await asyncio.to_thread(_stop, started)


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


def _start(
    settings: Settings, data: Path, line: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    place = ("--data", str(data), "--port-base", str(settings.port_base))
    with _log(data, line).open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "waybill", *line, *place],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=dict(environment),
        )


def _log(data: Path, line: tuple[str, ...]) -> Path:
    return data / f"bench-{line[-1]}.log"


async def _until_ready(
    settings: Settings, data: Path, started: Sequence[subprocess.Popen[bytes]]
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while set((await asyncio.to_thread(readiness, settings)).values()) != {"UP"}:
        for process in started:
            if process.poll() is not None:
                raise ConfigurationError(_last_word(data, process))
        if loop.time() > deadline:
            raise ConfigurationError(f"not ready within {START_SECONDS:.0f} s: see {data}/*.log")
        await asyncio.sleep(POLL_SECONDS)


def _last_word(data: Path, process: subprocess.Popen[bytes]) -> str:
    arguments = [str(part) for part in process.args] if isinstance(process.args, list) else []
    line = tuple(arguments[3 : arguments.index("--data")])
    words = _log(data, line).read_text(errors="replace").strip().splitlines()
    last = words[-1] if words else f"it ended with status {process.returncode}"
    return last.removeprefix("waybill: ")


def _stop(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """All at once; the one that runs PostgreSQL is among them."""
    for process in started:
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # as safe as SIGTERM, only that its books stay open
            process.kill()
            process.wait()
