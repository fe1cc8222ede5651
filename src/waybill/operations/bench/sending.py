"""Sends what is measured: the blueprint's orders, to one platform, each told to whoever counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from waybill.operations.generator import Generator
from waybill.operations.plan import Plan
from waybill.operations.sent_orders import two_lines

if TYPE_CHECKING:
    from waybill.operations.bench.confirmations import Confirmations
    from waybill.operations.bench.sampler import Sampler
    from waybill.operations.bench.target import Target
    from waybill.operations.history import HistoryWriter
    from waybill.operations.plan import Result
    from waybill.operations.watcher import Watcher

NO_END_SECONDS = 3_600.0
"""Longer than a load that ends by its number of orders."""


@dataclass(frozen=True)
class Sending:
    """The instruments that hear of every order."""

    target: Target
    confirmations: Confirmations
    sampler: Sampler
    history: HistoryWriter

    def plan(self, *, rate: float, seconds: float, connections: int) -> Plan:
        """A load on this platform, by the blueprint's usual orders."""
        return Plan(
            rate=rate,
            seconds=seconds,
            connections=connections,
            host=self.target.host,
            port_base=self.target.port_base,
            blueprint=self.target.blueprint,
            contents=two_lines(self.target.blueprint),
            token=self.target.token,
            caller=self.target.caller,
        )

    def counted(self, orders: int, *, connections: int) -> Plan:
        """So many requests, as fast as the connections carry."""
        plan = self.plan(rate=0, seconds=NO_END_SECONDS, connections=connections)
        return replace(plan, orders_max=orders)

    async def send(self, plan: Plan, watcher: Watcher | None = None) -> Result:
        """Send all of it."""

        def accepted(order: bytes, intended: float) -> None:
            self.sampler.accepted += 1
            self.confirmations.accepted(order, intended)
            if watcher is not None:
                watcher.accepted(order, intended)

        return await Generator(plan, history=self.history, accepted=accepted).run()
