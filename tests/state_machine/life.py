"""One life of a service's process: built by the product's composition, behind the test's gates."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx2
from tests.state_machine.faults import Process
from tests.state_machine.gates import CallGate, ConsumerGate, GatedLog

from waybill.messaging.service import MessagingService
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.services import Workshop
from waybill.platform.stores import stores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fastapi import FastAPI
    from tests.state_machine.simulation import Simulation

    from waybill.messaging.core.unit import Received, UnitOfWork
    from waybill.messaging.runtime.consumer import Consumer
    from waybill.messaging.runtime.deliverer import Deliverer
    from waybill.messaging.runtime.unit import Handler


class SilentMetrics(ServiceMetrics):
    """Counts, but follows no gauge: a service starts many times here."""

    def follow(self, name: str, read: Callable[[], float], /, **labels: str) -> None:
        """See ServiceMetrics."""


class SteppedMessaging(MessagingService):
    """The service's messaging behind gates, in virtual time."""

    def __init__(self, life: Life, **arguments: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(life.world.plans[life.service].name, notify=False, **arguments)
        self._life = life
        life.messaging = self

    async def connect(self) -> None:
        """As ever, with the test's clock, chance and ids."""
        await super().connect()
        world = self._life.world
        self._ports = dataclasses.replace(
            self.ports, clock=world.clock, random=lambda: 0.5, new_id=world.ids
        )

    def _log(self, topics: frozenset[str]) -> Any:  # noqa: ANN401 - a Log
        log: Any = super()._log(topics)
        log._monotonic = self._life.world.loop.time
        log._random = lambda: 0.5
        log._new_id = self._life.world.ids
        return GatedLog(log, self._life.gate)

    def consume(
        self,
        consumer: str,
        types: Iterable[type],
        handle: Handler,
        **options: Any,  # noqa: ANN401 - passed on
    ) -> Consumer:
        """As ever; a message that is poisoned makes the handler raise."""
        world, service = self._life.world, self._life.service

        async def poisoned(unit: UnitOfWork, received: Sequence[Received]) -> None:
            if service in world.poison_next:
                world.poison_next.discard(service)
                world.poison.add((service, received[0].message.id))
            if any((service, each.message.id) in world.poison for each in received):
                raise ValueError("poison")
            await handle(unit, received)

        self._life.consumer = super().consume(consumer, types, poisoned, **options)
        return self._life.consumer

    def deliver(self, kind: str, call: Any, settled: Any, **options: Any) -> Deliverer:  # noqa: ANN401 - as there
        """As ever, with the outside world behind the gate."""
        calls = self._life.calls
        query = options["query"] = calls.query(options.get("query"))
        made = self._life.world.called.append
        gated = calls.call(call, made, can_be_asked_about=query is not None)
        return super().deliver(kind, gated, settled, **options)


class Life:
    """One life of one service's process."""

    def __init__(self, world: Simulation, service: str) -> None:
        self.world = world
        self.number = next(world.numbers)
        self.service = service
        self.process = Process(service)
        self.gate = ConsumerGate()
        self.calls = CallGate(world.doubts)
        self.consumer: Consumer | None = None
        self.client: httpx2.AsyncClient | None = None
        self.messaging: MessagingService | None = None

    async def start(self) -> None:
        """Build it as the platform does, and run its loops."""
        world, plan = self.world, self.world.plans[self.service]
        messaging = SteppedMessaging(
            self,
            url=world.urls[self.service],
            codec=world.blueprint.codec(),
            sources=world.sources(plan.name),
            settings=world.messaging_settings,
            doorbells=world.doorbells,
        )
        await messaging.connect()
        metrics = SilentMetrics(plan.name, version="test")
        built = await plan.build(
            Workshop(
                blueprint=world.blueprint,
                messaging=messaging,
                metrics=metrics,
                settings=world.settings,
                provider_url=world.urls.get("provider", ""),
                stores=stores_of(world.urls[self.service]),
            )
        )
        messaging.start()
        self._surface = built.surface
        self._parts = HttpParts(
            title=plan.name,
            version="test",
            health=Health({}),
            registry=metrics.registry,
            observer=metrics,
            now=world.clock.now,
        )
        if self.service == "order":
            transport = httpx2.ASGITransport(app=self.application)
            self.client = httpx2.AsyncClient(transport=transport, base_url="http://order")

    @cached_property
    def application(self) -> FastAPI:
        """What it serves; made for those who ask, which is not for nothing."""
        return create_application(self._surface, self._parts)
