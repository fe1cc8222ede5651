"""One service of seed 003's design as a process, in the benchmarks' own environment.

Runs until its standard input is closed: its relay, and one consumer that takes one message at a
time. `--relay-only` leaves the consumer out; `--orders N` places so many before it begins, so that
no intake takes any time from the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading

import psycopg
from confluent_kafka import Consumer

from benchmarks.seed_design.relay import relay
from benchmarks.seed_design.services import SERVICES, Service, apply, place

POLL_SECONDS = 0.2


def main() -> int:
    """Start the threads, say so, wait for the end of the input."""
    options = _parser().parse_args()
    _place(options.url, options.products, options.orders)
    stop = threading.Event()
    work = [threading.Thread(target=relay, args=(options.url, options.bootstrap, stop))]
    if not options.relay_only:
        work.append(threading.Thread(target=_consume, args=(options, stop)))
    for thread in work:
        thread.daemon = True
        thread.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop.set()
    return 0


def _consume(options: argparse.Namespace, stop: threading.Event) -> None:
    service: Service = SERVICES[options.service]
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": f"{options.service}-service",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.subscribe(list(service.topics))
    with psycopg.connect(options.url) as connection:
        connection.prepare_threshold = 1
        while not stop.is_set():
            message = consumer.poll(POLL_SECONDS)
            if message is None or message.error():
                continue
            apply(connection, service, json.loads(message.value() or b"{}"))
            consumer.commit(message=message, asynchronous=True)
    consumer.close()


def _place(url: str, products: list[str], orders: int) -> None:
    with psycopg.connect(url) as connection:
        connection.prepare_threshold = 1
        for number in range(orders):
            first = number % (len(products) - 1)
            place(connection, products[first : first + 2])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", choices=list(SERVICES), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--relay-only", action="store_true")
    parser.add_argument("--orders", type=int, default=0)
    parser.add_argument("--products", nargs="*", default=[])
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
