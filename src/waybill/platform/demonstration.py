"""`waybill demo`: a platform on a data folder of its own, the acts of the demo, nothing left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit import AuditOptions, audit
from waybill.operations.audit.table import show_report
from waybill.platform import event_loop
from waybill.platform.chosen import DATABASE, chosen
from waybill.platform.composition import Platform
from waybill.platform.demo import Demo, DemoFailedError, Shop
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.empty_topics import require_empty_topics
from waybill.platform.logs import set_up_logs
from waybill.platform.provisioning import SERVICES, urls_of
from waybill.platform.settings import PORT_SPAN, Settings

if TYPE_CHECKING:
    from rich.console import Console

SETTLE_SECONDS_MAX = 60.0
"""The last mail may be on its way when the last act is over."""

PORT_BASES = range(18_080, 32_000, 20)
"""Below the ports that the kernel gives to clients."""


def run_demo(
    console: Console,
    *,
    data_directory: Path | None,
    port_base: int | None,
    since: float | None = None,
) -> None:
    """Run it to its end. Raises DemoFailedError or ConfigurationError.

    Without a data directory it makes one and removes it; ports are free ones unless given. The
    first confirmed order is timed from `since`, a Unix time, or else from here.
    """
    ago = 0.0 if since is None else time.time() - since  # noqa: TID251 - make's clock
    began = time.monotonic() - ago
    base = port_base if port_base is not None else free_port_base()
    own = Path(tempfile.mkdtemp(prefix="waybill-demo-")) if data_directory is None else None
    if own is not None:
        own.chmod(0o711)  # the server's own user must be able to pass
    settings = Settings.load(
        data_directory=data_directory or (own or Path()) / "data", port_base=base
    )
    try:
        event_loop.run(_until_signal(console, settings, began))
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def free_port_base() -> int:
    """A port base whose ports are free now; any of them, so that two demos at once differ."""
    for base in SystemRandom().sample(PORT_BASES, len(PORT_BASES)):
        with suppress(OSError):
            for port in range(base + 1, base + 1 + PORT_SPAN):
                with closing(socket.socket()) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return base
    raise ConfigurationError("no block of free ports: give one with --port-base")


async def _until_signal(console: Console, settings: Settings, began: float) -> None:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - asyncio.run made one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    log = settings.data_directory / "demo.log"
    started = time.monotonic()
    server = EmbeddedPostgres(settings.data_directory)
    platform = Platform(settings, server)
    if not (settings.data_directory / DATABASE).exists():
        kafka = KafkaSettings.from_environment(os.environ)
        await require_empty_topics(kafka, chosen(settings))
    platform.bind()
    try:
        async with server:
            with log.open("w") as stream:
                writer = set_up_logs(level=settings.log_level, style="json", stream=stream)
                try:
                    async with platform:
                        seconds = time.monotonic() - started
                        console.print(f"platform started in {seconds:.1f} s, on {_ports(settings)}")
                        await _act(console, settings, platform, began)
                        await _prove(console, server)
                finally:
                    writer.close()
    finally:
        await platform.stop()


def _ports(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.port_base + 1} and the next three ports"


async def _act(console: Console, settings: Settings, platform: Platform, began: float) -> None:
    provider = platform.running["payment"].built.provider
    if provider is None:
        raise DemoFailedError("the payment service has no simulator")
    shop = Shop(settings.port_base)
    try:
        demo = Demo(shop, console, hold_payments=provider.hold, ledger=provider.totals)
        await demo.run()
        first = demo.first_confirmed - began
        console.print(f"\nfirst confirmed order after {first:.1f} s")
    finally:
        await shop.close()


async def _prove(console: Console, server: EmbeddedPostgres) -> None:
    """The audit has the last word: the status is 0 only if every rule holds."""
    urls = {service: urls_of(server, service).auditor for service in SERVICES}
    kafka = KafkaSettings.from_environment(os.environ)
    report = await audit(urls, AuditOptions(settle_seconds=SETTLE_SECONDS_MAX, kafka=kafka))
    if report.exit_status:
        show_report(report, console)
        raise DemoFailedError(report.told())
    console.print(f"\n{report.told()} (the rules: waybill audit --matrix)")
