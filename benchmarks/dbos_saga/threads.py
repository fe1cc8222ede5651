"""The saga on threads: plain steps or datasource transactions, started directly or by a queue.

A plain step's statement commits by itself. A datasource transaction commits together with DBOS's
own record of it, before the step is recorded as any other.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource

from benchmarks.dbos_saga.orders import Orders
from benchmarks.dbos_saga.statements import STEPS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.dbos_saga.orders import Order

QUEUE = "orders"
WAITING_A_THREAD = 2
"""Orders that wait in the queue for each that runs, so that no poll finds too few."""
POOL_SIZE = 20


class ThreadedSaga:
    """The workflow reserve, charge, confirm, notify, and threads that keep it busy."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._local = threading.local()
        self._counting = threading.Lock()
        self._orders = Orders(options.products, 0, 0)
        make = self._plain_steps if options.style == "step" else self._transactions
        steps = make()

        def fulfil(order: Order) -> str:
            for step in steps:
                step(order)
            with self._counting:
                self._orders.confirmed += 1
            return "CONFIRMED"

        self._fulfil: Any = DBOS.workflow(name="fulfil")(fulfil)

    def launched(self) -> None:
        """DBOS runs: what needs it."""
        if self._options.start == "queue":
            DBOS.register_queue(
                QUEUE,
                worker_concurrency=self._options.concurrency,
                polling_interval_sec=self._options.poll_seconds,
                on_conflict="always_update",
            )

    def run(self) -> dict[str, float]:
        """Confirmed within the window, and the window's length; returns when all have ended."""
        options = self._options
        orders = self._orders = Orders(options.products, options.warm_up_seconds, options.seconds)
        work = self._direct if options.start == "direct" else self._queued
        with ThreadPoolExecutor(options.concurrency) as pool:
            working = [pool.submit(work) for _ in range(options.concurrency)]
            time.sleep(orders.before_window())
            before, began = orders.confirmed, time.monotonic()
            time.sleep(orders.before_end())
            confirmed, seconds = orders.confirmed - before, time.monotonic() - began
            for future in working:
                future.result()
        return {"confirmed": confirmed, "seconds": seconds, "total": orders.confirmed}

    def _direct(self) -> None:
        for order in self._orders:
            with SetWorkflowID(order["order"]):
                self._fulfil(order)

    def _queued(self) -> None:
        waiting: list[Any] = []
        for order in self._orders:
            with SetWorkflowID(order["order"]):
                waiting.append(DBOS.enqueue_workflow(QUEUE, self._fulfil, order))
            if len(waiting) > WAITING_A_THREAD:
                waiting.pop(0).get_result(polling_interval_sec=0.05)
        for handle in waiting:
            handle.get_result(polling_interval_sec=0.05)

    def _plain_steps(self) -> list[Callable[[Order], Any]]:
        def step(name: str, statement: str) -> Callable[[Order], Any]:
            def perform(order: Order) -> None:
                self._connection().execute(statement, order)

            wrapped: Callable[[Order], Any] = DBOS.step(name=name)(perform)
            return wrapped

        return [step(name, statement) for name, statement in STEPS.items()]

    def _connection(self) -> psycopg.Connection[Any]:
        """One a thread, with prepared statements."""
        if not hasattr(self._local, "connection"):
            self._local.connection = psycopg.connect(
                self._options.url, autocommit=True, prepare_threshold=1
            )
        found: psycopg.Connection[Any] = self._local.connection
        return found

    def _transactions(self) -> list[Callable[[Order], Any]]:
        source = SQLAlchemyDatasource.create(
            self._options.url,
            engine_kwargs={"pool_size": POOL_SIZE, "isolation_level": "READ COMMITTED"},
        )

        def step(name: str, statement: str) -> Callable[[Order], Any]:
            def perform(order: Order) -> None:
                source.sql_session().connection().exec_driver_sql(statement, order)

            wrapped: Callable[[Order], Any] = source.transaction(
                name=name, isolation_level="READ COMMITTED"
            )(perform)
            return wrapped

        return [step(name, statement) for name, statement in STEPS.items()]
