"""One process of the baseline: the saga as DBOS workflows. Runs in the benchmarks' own environment.

Says `ready`, waits for a line, keeps `--concurrency` orders in flight, counts what is confirmed in
`--seconds` after the warm-up, lets what is under way finish, and prints the count as a JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource

from benchmarks.dbos_saga.statements import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUE = "orders"
BACKLOG_A_WORKER = 2
"""Orders that wait in the queue for each that runs, so that no poll finds too few."""


@dataclass(frozen=True)
class Order:
    """One two-line order, like those of Waybill's load generator."""

    parameters: dict[str, str]

    @classmethod
    def numbered(cls, number: int, products: list[str]) -> Order:
        """Two lines over the products, in turn."""
        lines = [
            {"productId": products[number % 5], "quantity": 1, "unitPrice": 29.99},
            {"productId": products[(number + 2) % 5], "quantity": 2, "unitPrice": 5.25},
        ]
        return cls(
            {
                "order": str(uuid.uuid4()),
                "customer": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
                "total": "40.49",
                "lines": json.dumps(lines),
                "charge": str(uuid.uuid4()),
                "message": "Your order is confirmed.",
            }
        )


class Saga:
    """The workflow: reserve, charge, confirm, notify.

    `style` says what a step is. "step": a DBOS step whose statement commits by itself.
    "transaction": a datasource transaction, which commits with DBOS's own record of it.
    """

    def __init__(self, url: str, style: str) -> None:
        self._url = url
        self._local = threading.local()
        self.confirmed = 0
        self._counting = threading.Lock()
        steps = {
            "step": self._plain_steps,
            "transaction": self._transactions,
        }[style]()

        def fulfil(order: dict[str, str]) -> str:
            for step in steps:
                step(order)
            with self._counting:
                self.confirmed += 1
            return "CONFIRMED"

        self.run: Any = DBOS.workflow(name="fulfil")(fulfil)

    def _plain_steps(self) -> list[Callable[[dict[str, str]], Any]]:
        def step(name: str, statement: str) -> Callable[[dict[str, str]], Any]:
            def perform(order: dict[str, str]) -> None:
                self._connection().execute(statement, order)

            wrapped: Callable[[dict[str, str]], Any] = DBOS.step(name=name)(perform)
            return wrapped

        return [step(name, statement) for name, statement in STEPS.items()]

    def _connection(self) -> psycopg.Connection[Any]:
        """One a thread, with prepared statements."""
        if not hasattr(self._local, "connection"):
            self._local.connection = psycopg.connect(
                self._url, autocommit=True, prepare_threshold=1
            )
        found: psycopg.Connection[Any] = self._local.connection
        return found

    def _transactions(self) -> list[Callable[[dict[str, str]], Any]]:
        source = SQLAlchemyDatasource.create(
            self._url, engine_kwargs={"pool_size": 40, "isolation_level": "READ COMMITTED"}
        )

        def step(name: str, statement: str) -> Callable[[dict[str, str]], Any]:
            def perform(order: dict[str, str]) -> None:
                source.sql_session().connection().exec_driver_sql(statement, order)

            wrapped: Callable[[dict[str, str]], Any] = source.transaction(
                name=name, isolation_level="READ COMMITTED"
            )(perform)
            return wrapped

        return [step(name, statement) for name, statement in STEPS.items()]


class Driver:
    """Keeps orders in flight until the time is over."""

    def __init__(self, saga: Saga, options: argparse.Namespace) -> None:
        self._saga = saga
        self._options = options
        self._number = 0
        self._until = 0.0

    def run(self) -> dict[str, float]:
        """Confirmed within the window, and the window's length; returns when all have ended."""
        warm = time.monotonic() + self._options.warm_up_seconds
        self._until = warm + self._options.seconds
        work = self._direct if self._options.start == "direct" else self._queued
        with ThreadPoolExecutor(self._options.concurrency) as pool:
            for _ in range(self._options.concurrency):
                pool.submit(work)
            time.sleep(max(0.0, warm - time.monotonic()))
            before, began = self._saga.confirmed, time.monotonic()
            time.sleep(max(0.0, self._until - began))
            confirmed, seconds = self._saga.confirmed - before, time.monotonic() - began
        return {"confirmed": confirmed, "seconds": seconds, "total": self._saga.confirmed}

    def _orders(self) -> Iterator[Order]:
        while time.monotonic() < self._until:
            self._number += 1
            yield Order.numbered(self._number, self._options.products)

    def _direct(self) -> None:
        for order in self._orders():
            with SetWorkflowID(order.parameters["order"]):
                self._saga.run(order.parameters)

    def _queued(self) -> None:
        waiting: list[Any] = []
        for order in self._orders():
            with SetWorkflowID(order.parameters["order"]):
                waiting.append(DBOS.enqueue_workflow(QUEUE, self._saga.run, order.parameters))
            if len(waiting) > BACKLOG_A_WORKER:
                waiting.pop(0).get_result(polling_interval_sec=0.05)
        for handle in waiting:
            handle.get_result(polling_interval_sec=0.05)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--style", choices=["step", "transaction"], default="step")
    parser.add_argument("--start", choices=["direct", "queue"], default="direct")
    parser.add_argument("--poll-seconds", type=float, default=0.01)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--warm-up-seconds", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--products", nargs=5, required=True)
    return parser.parse_args(arguments)


def main() -> int:
    """Launch DBOS, wait for the word, run, report."""
    options = options_of(sys.argv[1:])
    DBOS(
        config={
            "name": "waybill-baseline",
            "system_database_url": options.url,
            "sys_db_pool_size": options.concurrency + 4,
            "executor_id": options.executor,
            "application_version": "1",
            "max_executor_threads": options.concurrency + 4,
            "log_level": "ERROR",
        }
    )
    saga = Saga(options.url, options.style)
    DBOS.launch()
    if options.start == "queue":
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=options.concurrency,
            polling_interval_sec=options.poll_seconds,
            on_conflict="always_update",
        )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    found = Driver(saga, options).run()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    DBOS.destroy()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
