"""The whole platform in one process, on real databases, in virtual time, one step at a time.

Built by the product's own composition (platform.services): its handlers, deliverers, intake,
deadlines, HTTP routes and loops run as they are. Only the clock, the ids, the log's and the outside
world's gates, and the databases' faults belong to the test.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.state_machine.between import Between
from tests.state_machine.customers import Customers
from tests.state_machine.faults import FaultyDatabase, Process, Turn, reach_point
from tests.state_machine.gates import Doubts, Fate
from tests.state_machine.life import Life
from tests.state_machine.side import PostgresSide
from tests.state_machine.virtual_time import VirtualClock, VirtualLoop

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.commerce.payments.simulation import simulated_success
from waybill.messaging import service as messaging_service
from waybill.messaging.core import crash_points
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.platform.composition import messaging_settings
from waybill.platform.services import plans_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    import httpx2
    import pytest
    from tests.state_machine.gates import Grant

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.core.ports import Database, Delivery

SUCCESS_RATE = 0.8
LOOK_SECONDS = 0.001
"""How long a reader looks for rows before it says that there are none."""
NEVER_SECONDS = 1e9
HANGS_AFTER_SECONDS = 240.0
"""Of the wall's clock: one step takes milliseconds, so this one will never end."""
PATIENCE_SECONDS = 40
"""Of virtual time: how long a request may take that waits for outside calls."""
WAITS = (0.0, 1.0, 5.0, 10.0)
"""Jumps after which a consumer that backs off or stands by asks again (caps of 10 s, L5)."""


class SteadyRandom:
    """Chance has no part in a run that must be the same each time."""

    def random(self) -> float:
        """See random.Random."""
        return 0.5


class Ids:
    """UUIDs in a row, the same in every run; the next order's can be one whose charge succeeds."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> UUID:
        """The next one."""
        return UUID(int=next(self._numbers) * 0x9E37_79B9_7F4A_7C15 % 2**128, version=4)

    def upcoming(self, *, charged: bool) -> None:
        """Make the next one an id whose charge the simulator captures, or declines."""
        while True:
            number = next(self._numbers)
            peeked = UUID(int=number * 0x9E37_79B9_7F4A_7C15 % 2**128, version=4)
            if simulated_success(peeked, success_rate=SUCCESS_RATE) == charged:
                self._numbers = itertools.chain([number], self._numbers)  # type: ignore[assignment]
                return


class Simulation:
    """Every service, each in a life of its own. `quiet` between any two calls of these methods."""

    def __init__(
        self,
        loop: VirtualLoop,
        urls: Mapping[str, str],
        patch: pytest.MonkeyPatch,
        blueprint: Blueprint = CHOREOGRAPHY,
        side: PostgresSide | None = None,
    ) -> None:
        self.loop = loop
        self.side = side or PostgresSide()
        self.verdicts = self.side.engine.verdicts
        self.blueprint = blueprint
        self.plans = plans_of(blueprint)
        self.customers = Customers(blueprint)
        self.urls = {name: urls[name] for name in self.plans}
        if "payment" in self.plans:
            self.urls["provider"] = urls["provider"]
        self.databases = self.side.databases(self.urls, loop)
        self.auditor = self.side.auditor(self.urls, self.databases, blueprint)
        self.settings = Settings.load(payment_success_rate=SUCCESS_RATE)
        settings = messaging_settings(
            self.settings, "state machine", dead_letter_suffix=blueprint.dead_letter_suffix
        )
        self.messaging_settings = dataclasses.replace(
            settings,
            # What is decided together is drawn: nothing stays for company of its own accord.
            consumer=dataclasses.replace(settings.consumer, linger_seconds=0.0),
            log=LogSettings(poll_seconds=LOOK_SECONDS),
            upkeep_interval_seconds=NEVER_SECONDS,
            inbox_purge_interval_seconds=NEVER_SECONDS,
        )
        self._pools: dict[str, Any] = {}
        self._building: Process | None = None
        self._connect = self.side.pool.connect
        patch.setattr(self.side.pool, "connect", self._connected)
        patch.setattr(crash_points, "hook", reach_point)
        patch.setattr("httpx2._client.AsyncHTTPTransport", lambda **_: Between(self))
        patch.setattr(messaging_service, "SystemRandom", SteadyRandom)
        self.side.follow(patch, loop)

    async def open(self) -> None:
        """Prepare the databases, once."""
        await self.databases.open()
        await self.auditor.open()

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.close()
        await self.auditor.close()
        await self.databases.close()

    async def begin(self, stock: dict[UUID, int], *, at_once: bool = False) -> None:
        """Empty databases with this stock, and every service started.

        `at_once`: transactions do not wait for each other, unless for locks.
        """
        self.clock = VirtualClock(self.loop)
        self.ids = Ids()
        self.numbers = itertools.count()
        self.turn = Turn(is_free=at_once)
        self.poison: set[tuple[str, UUID]] = set()
        self.poison_next: set[str] = set()
        self.called: list[Delivery] = []
        self.doubts = Doubts()
        self.inside = Fate.ANSWERED
        self.doorbells: dict[str, Any] = {}
        self.lives: dict[str, Life] = {}
        await self.databases.reset(stock, self.clock.now())
        await self.databases.set_clock(self.clock.now())
        for name in self.plans:
            await self._start(name)
        await self.loop.quiet()

    async def end(self) -> None:
        """Nothing runs any more."""
        for life in self.lives.values():
            await life.process.end()
        await self.loop.quiet()

    async def kill(self, service: str) -> None:
        """SIGKILL: whatever it had in memory is gone."""
        await self.lives[service].process.end()
        await self.loop.quiet()

    async def restart(self, service: str, *, alone: bool) -> None:
        """Start it again. `alone` as `waybill up`: leases of its former life are void (E2)."""
        if alone:
            await self.side.void_leases(self._pools[self.urls[service]])
        await self._start(service)
        await self.loop.quiet()

    async def twin(self, service: str) -> Life:
        """A second process of this service, under the name `<service>*`."""
        await self._start(service, f"{service}*")
        return self.lives[f"{service}*"]

    async def _start(self, service: str, name: str = "") -> None:
        life = self.lives[name or service] = Life(self, service)
        self._building = life.process
        starting = life.process.spawn(life.start())
        await starting
        self._building = None

    def pool(self, service: str) -> Database:
        """The database as an operator's command sees it."""
        return self._pools[self.urls[service]]  # type: ignore[no-any-return]  # a pool of the side's

    async def _connected(self, url: str, settings: Any = None) -> FaultyDatabase:  # noqa: ANN401 - the adapter's
        if url not in self._pools:
            with self.loop.statement():
                self._pools[url] = await self._connect(url, settings)
        if self._building is None:
            raise AssertionError("databases are opened while a service is built")
        return FaultyDatabase(self._pools[url], self._building, self.turn, self.loop)

    def sources(self, service: str) -> dict[str, SourceSpec]:
        """Whose outboxes this service reads, as the platform derives it."""
        wiring = self.blueprint.services[service]
        found = {}
        for other, plan in self.plans.items():
            if topics := wiring.reads_of(self.blueprint.services[plan.name]):
                found[plan.name] = SourceSpec(self.urls[other], frozenset(topics))
        return found

    async def advance(self, seconds: float) -> None:
        """Time passes, for processes and servers alike."""
        await self.loop.quiet()
        self.loop.elapsed += seconds
        await self.databases.set_clock(self.clock.now())
        await self.settle()

    async def settle(self) -> None:
        """Let everything run until it waits, readers' looks included; restart what was killed."""
        await self.loop.quiet()
        while any(life.gate.reading for life in self.lives.values()):
            await self.loop.advance(2 * LOOK_SECONDS)
        for service, life in list(self.lives.items()):
            if life.process.killed:
                await self.kill(service)
                await self.restart(service, alone=False)

    async def deliver(self, service: str, grant: Grant) -> int:
        """Let its consumer take one batch; how many records that were. 0 if it cannot take any."""
        for seconds in WAITS:
            if seconds:
                await self.advance(seconds)
            if self.lives[service].gate.waits:
                break
        else:
            return 0
        gate = self.lives[service].gate
        gate.grant(grant)
        await self.settle()
        return len(gate.last)

    async def answer(self, service: str, index: int, fate: Fate) -> None:
        """Let one outside call of this service end."""
        calls = self.lives[service].calls
        if calls.waiting:
            calls.answer(index, fate)
            await self.settle()

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response | None:  # noqa: ANN401 - httpx2's
        """An HTTP request to the order service; None if no answer ever came."""
        life = self.lives["order"]
        if life.client is None:
            raise AssertionError("the order service is not started")
        asked = life.process.spawn(life.client.request(method, path, **options))
        await self.settle()
        for _ in range(PATIENCE_SECONDS):
            if asked.done() or life.process.killed:
                break
            await self._go_on()
        if asked.done() and not asked.cancelled():
            return asked.result()  # type: ignore[no-any-return]
        if not life.process.killed:
            raise AssertionError(f"{method} {path} is never answered")
        return None

    async def _go_on(self) -> None:
        """A request waits for an outside call, which ends as drawn; else time passes."""
        for service, life in list(self.lives.items()):
            if life.calls.waiting:
                await self.answer(service, 0, self.inside)
                return
        await self.advance(1.0)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever work returns
        """From code that has no event loop. Time stands still, so a real one watches over it."""
        watchdog = threading.Timer(HANGS_AFTER_SECONDS, self._give_up)
        watchdog.start()
        try:
            return self.loop.run_until_complete(work)
        finally:
            watchdog.cancel()

    def _give_up(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.print_stack()
            self.loop.call_soon_threadsafe(task.cancel)
