"""`waybill up` and `waybill serve`: runs until a signal, then drains within a bound.

The first SIGTERM or SIGINT drains, the second ends at once; both are as safe as SIGKILL.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform import event_loop
from waybill.platform.background import make_directory
from waybill.platform.chosen import chosen, claim
from waybill.platform.composition import Platform
from waybill.platform.databases import own_databases
from waybill.platform.edge_choice import GATEWAY
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.lock import FileLock
from waybill.platform.logs import set_up_logs
from waybill.platform.own_databases import OwnDatabases
from waybill.platform.services import plans_of
from waybill.platform.tracing import set_up_tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.platform.settings import Settings

    Work = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)

IMPATIENT_STATUS = 130
COLLECT_AFTER = 20_000
"""Objects made before Python looks for cycles among them; its own 700 are made in a moment."""


def run_registry(settings: Settings) -> None:
    """Run the registry alone until a signal. It needs no database and no data directory."""
    _in_foreground(settings, lambda: _registry(settings), alone=True)


def run_in_foreground(
    settings: Settings, services: Sequence[str] = (), *, shared: bool = False
) -> None:
    """Run these services until a signal; none named: all of the blueprint.

    Raises ConfigurationError if they cannot start.

    `shared`: other processes may serve other services of the same data directory.
    """
    services = services or tuple(plans_of(chosen(settings)))
    _in_foreground(
        settings, lambda: _run(settings, services, shared=shared), alone=len(services) == 1
    )


def _in_foreground(settings: Settings, work: Work, *, alone: bool) -> None:
    tracing = set_up_tracing(os.environ, version=version("waybill"), alone=alone)
    writer = set_up_logs(level=settings.log_level, style=settings.log_format)
    if tracing is not None:
        tracing.install()
    try:
        event_loop.run(_until_signal(work))
    finally:
        if tracing is not None:
            tracing.close()
        writer.close()


async def _until_signal(work: Work) -> None:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - asyncio.run made one
    signals = _Signals(running.cancel)
    with suppress(asyncio.CancelledError):
        await work()
    signals.close()
    logger.info("stopped")


async def _registry(settings: Settings) -> None:
    from waybill.platform.discovery import RegistryServer  # noqa: PLC0415 - most have none

    server = RegistryServer(settings)
    async with AsyncExitStack() as stack:
        server.bind(stack)
        stack.push_async_callback(server.stop)
        await server.start()
        logger.info("registry is ready on %s", server.url)
        await asyncio.Event().wait()  # until a signal cancels it


async def _run(settings: Settings, services: Sequence[str], *, shared: bool) -> None:
    # A gateway has no database: neither ours is started for it, nor one of the user's asked for.
    own = OwnDatabases({}, {}) if set(services) == {GATEWAY} else own_databases()
    if own is not None:
        await _run_on(own, settings, services, shared=shared)
        return
    server = EmbeddedPostgres(settings.data_directory, shared=shared, progress=logger.info)
    platform = Platform(settings, server, services=services, progress=logger.info)
    try:
        server.claim()
        claim(settings)
        platform.bind()  # a port in use is found before a database is started
        async with server:
            watching = asyncio.create_task(server.watch(), name="database")
            try:
                async with platform:
                    spare_the_collector()
                    _announce(settings, services)
                    await watching
            finally:
                watching.cancel()
    finally:
        await platform.stop()  # gives the ports back if it never started
        await server.stop()


async def _run_on(
    own: OwnDatabases, settings: Settings, services: Sequence[str], *, shared: bool
) -> None:
    """On servers of the user's. `waybill up` has a data directory all the same: for `down`."""
    platform = Platform(settings, own, services=services, progress=logger.info)
    place = FileLock(settings.data_directory / "lock")
    try:
        if not shared:
            make_directory(settings.data_directory)
            claim(settings)
            if not place.acquire():
                raise ConfigurationError(
                    f"a platform runs already on {settings.data_directory} (pid {place.holder()}): "
                    "stop it with `waybill down`, or choose another directory with --data"
                )
        platform.bind()
        async with platform:
            spare_the_collector()
            _announce(settings, services)
            await asyncio.Event().wait()  # until a signal cancels it
    finally:
        await platform.stop()  # gives the ports back if it never started
        place.release()


def spare_the_collector() -> None:
    """Looking for cycles took a third of an order's CPU: batches are large, cycles are rare.

    What start-up made stays anyway, and need not be looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _announce(settings: Settings, services: Sequence[str]) -> None:
    plans = plans_of(chosen(settings))
    for service in (name for name in services if name in plans):
        port = settings.port_base + plans[service].port_offset
        logger.info("%s is ready on http://%s:%s", plans[service].name, settings.host, port)


class _Signals:
    """The first signal cancels, the second ends the process without a word."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._asked = False
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._asked:
            os._exit(IMPATIENT_STATUS)  # PostgreSQL is told by the kernel
        self._asked = True
        logger.info("%s: draining; once more ends at once", number.name)
        self._stop()

    def close(self) -> None:
        """Give the signals back."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
