"""`waybill demo`: a platform on a data folder of its own, the acts of the demo, nothing left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from waybill.commerce.payments.outside import URL as PROVIDER_URL
from waybill.commerce.testing.gate import HOST, Gate
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit import AuditOptions, audit
from waybill.operations.audit.table import show_report
from waybill.platform import event_loop
from waybill.platform.chosen import DATABASE, chosen, claim
from waybill.platform.composition import Platform
from waybill.platform.databases import databases_of, urls_of
from waybill.platform.demo.acts import PAYMENT_SERVICE, Stage, calls
from waybill.platform.demo.play import play
from waybill.platform.demo.shop import DemoFailedError, Shop
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.empty_topics import require_empty_topics
from waybill.platform.logs import set_up_logs
from waybill.platform.operator_token import operator_headers
from waybill.platform.services import PLANS, plans_of
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
    blueprint: str | None = None,
    since: float | None = None,
) -> None:
    """Run it to its end. Raises DemoFailedError or ConfigurationError.

    Without a data directory it makes one and removes it; ports are free ones unless given. The
    first confirmed order is timed from `since`, a Unix time, or else from here.
    """
    ago = 0.0 if since is None else time.time() - since  # noqa: TID251 - make's clock
    began = time.monotonic() - ago
    own = Path(tempfile.mkdtemp(prefix="waybill-demo-")) if data_directory is None else None
    try:
        if own is not None:
            own.chmod(0o711)  # the server's own user must be able to pass
        settings = Settings.load(
            data_directory=data_directory or (own or Path()) / "data",
            port_base=port_base if port_base is not None else free_port_base(),
            blueprint=blueprint,
        )
        if PAYMENT_SERVICE in chosen(settings).services and os.environ.get(PROVIDER_URL):
            raise ConfigurationError(
                f"{PROVIDER_URL} is set, and the demo pays by the simulator only: unset it"
            )
        event_loop.run(_until_signal(console, settings, began))
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def free_port_base() -> int:
    """A port base whose ports are free now; any of them, so that two demos at once differ."""
    for base in SystemRandom().sample(PORT_BASES, len(PORT_BASES)):
        with suppress(OSError):
            for port in range(base, base + 1 + PORT_SPAN):
                with closing(socket.socket()) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return base
    raise ConfigurationError("no block of free ports: give one with --port-base")


async def _until_signal(console: Console, settings: Settings, began: float) -> None:
    running = asyncio.current_task()
    assert running is not None  # noqa: S101 - asyncio.run made one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        gate, settings = await _gated(settings, stack)
        server = EmbeddedPostgres(settings.data_directory)
        platform = Platform(settings, server)
        if not (settings.data_directory / DATABASE).exists():
            kafka = KafkaSettings.from_environment(os.environ)
            await require_empty_topics(kafka, chosen(settings))
        stack.push_async_callback(server.stop)
        stack.push_async_callback(platform.stop)
        server.claim()
        claim(settings)
        platform.bind()
        stream = stack.enter_context((settings.data_directory / "demo.log").open("w"))
        writer = set_up_logs(level=settings.log_level, style="json", stream=stream)
        stack.callback(writer.close)
        async with server, platform:
            console.print(_started(settings, time.monotonic() - started))
            await _act(console, settings, platform, gate, began)
            await _prove(console, settings, server)


async def _gated(settings: Settings, stack: AsyncExitStack) -> tuple[Gate | None, Settings]:
    """A gate before the service that orders call, unless the user names another."""
    blueprint = chosen(settings)
    name, field = "payment", "payment_url"
    if blueprint.orders.notices is not None:
        name, field = "notification", "notify_url"
    if not calls(blueprint) or getattr(settings, field):
        return None, settings
    gate = Gate()
    gate.behind = settings.port_base + PLANS[name].port_offset
    await gate.open()
    stack.push_async_callback(gate.shut)
    return gate, settings.model_copy(update={field: f"http://{HOST}:{gate.port}"})


def _started(settings: Settings, seconds: float) -> str:
    blueprint = chosen(settings)
    kafka = KafkaSettings.from_environment(os.environ)
    places = ", ".join(
        f"{name} {settings.port_base + plan.port_offset}"
        for name, plan in plans_of(blueprint).items()
    )
    meeting = "" if kafka is None else f", on Kafka at {kafka.brokers}"
    return (
        f"{blueprint.name}: {blueprint.title}{meeting}\n"
        f"platform started in {seconds:.1f} s, on 127.0.0.1: {places}"
    )


async def _act(
    console: Console, settings: Settings, platform: Platform, gate: Gate | None, began: float
) -> None:
    blueprint, payment = chosen(settings), platform.running.get("payment")
    shop = Shop(blueprint, settings.port_base, headers=operator_headers(settings))
    stage = Stage(
        blueprint=blueprint,
        shop=shop,
        say=console.print,
        provider=None if payment is None else payment.built.provider,
        gate=gate,
        forced=settings.payment_force_outcome,
    )
    try:
        await play(stage, console)
        console.print(f"\nfirst confirmed order after {shop.first_confirmed - began:.1f} s")
    finally:
        await shop.close()


async def _prove(console: Console, settings: Settings, server: EmbeddedPostgres) -> None:
    """The audit has the last word: the status is 0 only if every rule holds."""
    blueprint = chosen(settings)
    urls = {service: urls_of(server, service).auditor for service in databases_of(blueprint)}
    options = AuditOptions(
        blueprint=blueprint,
        settle_seconds=SETTLE_SECONDS_MAX,
        kafka=KafkaSettings.from_environment(os.environ),
    )
    report = await audit(urls, options)
    if report.exit_status:
        show_report(report, console)
        raise DemoFailedError(report.told())
    console.print(f"\n{report.told()} (the rules: waybill audit --matrix)")
