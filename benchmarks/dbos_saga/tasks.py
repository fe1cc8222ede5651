"""The saga on one event loop: coroutines as plain steps, started directly."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
from dbos import DBOS, SetWorkflowID

from benchmarks.dbos_saga.orders import Orders
from benchmarks.dbos_saga.statements import STEPS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.dbos_saga.orders import Order


class AsynchronousSaga:
    """The workflow reserve, charge, confirm, notify, and tasks that keep it busy."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
        self._steps = [self._step(name, statement) for name, statement in STEPS.items()]
        self._fulfil: Any = DBOS.workflow(name="fulfil")(self._saga())

    def launched(self) -> None:
        """DBOS runs: what needs it."""

    def run(self) -> dict[str, float]:
        """Confirmed within the window, and the window's length; returns when all have ended."""
        return asyncio.run(self._run())

    async def _run(self) -> dict[str, float]:
        options = self._options
        for _ in range(options.concurrency):
            connection = await psycopg.AsyncConnection.connect(
                options.url, autocommit=True, prepare_threshold=1
            )
            self._free.put_nowait(connection)
        orders = Orders(options.products, options.warm_up_seconds, options.seconds)
        async with asyncio.TaskGroup() as group:
            for _ in range(options.concurrency):
                group.create_task(self._work(orders))
            await asyncio.sleep(orders.before_window())
            before, began = orders.confirmed, time.monotonic()
            await asyncio.sleep(orders.before_end())
            confirmed, seconds = orders.confirmed - before, time.monotonic() - began
        return {"confirmed": confirmed, "seconds": seconds, "total": orders.confirmed}

    async def _work(self, orders: Orders) -> None:
        for order in orders:
            with SetWorkflowID(order["order"]):
                await self._fulfil(order)
            orders.confirmed += 1

    def _saga(self) -> Callable[[Order], Any]:
        async def fulfil(order: Order) -> str:
            for step in self._steps:
                await step(order)
            return "CONFIRMED"

        return fulfil

    def _step(self, name: str, statement: str) -> Callable[[Order], Any]:
        async def perform(order: Order) -> None:
            connection = await self._free.get()
            try:
                await connection.execute(statement, order)
            finally:
                self._free.put_nowait(connection)

        wrapped: Callable[[Order], Any] = DBOS.step(name=name)(perform)
        return wrapped
