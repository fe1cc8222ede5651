"""One process of the baseline: the saga as DBOS workflows. Runs in the benchmarks' own environment.

Says `ready`, waits for a line, keeps `--concurrency` orders in flight, counts what is confirmed in
`--seconds` after the warm-up, lets what is under way finish, and prints the count as a JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys

from dbos import DBOS

from benchmarks.dbos_saga.tasks import AsynchronousSaga
from benchmarks.dbos_saga.threads import ThreadedSaga

SPARE_THREADS = 4


def main() -> int:
    """Launch DBOS, wait for the word, run, report."""
    options = _parser().parse_args()
    DBOS(
        config={
            "name": "waybill-baseline",
            "system_database_url": options.url,
            "sys_db_pool_size": options.concurrency + SPARE_THREADS,
            "max_executor_threads": options.concurrency + SPARE_THREADS,
            "executor_id": options.executor,
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    saga = AsynchronousSaga(options) if options.style == "async step" else ThreadedSaga(options)
    DBOS.launch()
    saga.launched()
    _say("ready")
    sys.stdin.readline()
    _say(json.dumps(saga.run()))
    DBOS.destroy()
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--style", choices=["step", "transaction", "async step"], default="step")
    parser.add_argument("--start", choices=["direct", "queue"], default="direct")
    parser.add_argument("--poll-seconds", type=float, default=0.01)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--warm-up-seconds", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--executor", default="local")
    parser.add_argument("--products", nargs=5, required=True)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
