"""Runs a program with its crash points armed, so that no program needs a setting for that.

    python -m waybill.messaging.testing.crash_runner \
        --point consumer.after_commit --action kill --nth 3 -- uvicorn clinic:app

What stands behind `--` is a module with its arguments, as for `python -m`.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
from functools import partial
from pathlib import Path

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.testing.crash_control import ControlServer, arm, mark
from waybill.messaging.testing.crash_points import ACTIONS, CrashPlan


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m waybill.messaging.testing.crash_runner",
        description="Run a module with its crash points armed.",
    )
    made.add_argument("--point", help="arm this one from the start")
    made.add_argument("--action", choices=ACTIONS, default="kill", help="what happens there")
    made.add_argument("--match", help="only for this consumer, kind of delivery or job")
    made.add_argument("--nth", type=int, default=1, help="at which occurrence (default: 1)")
    made.add_argument("--control", type=Path, help="a Unix socket to arm more by, see CrashControl")
    made.add_argument("--marks", type=Path, help="a file that says what was reached, line by line")
    made.add_argument(
        "--register", action="append", default=[], help="a module that registers points of its own"
    )
    made.add_argument("module", help="what to run, as for python -m")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return made


def main() -> None:
    """Arm, then run the module as the main program."""
    options = parser().parse_args()
    for module in options.register:
        importlib.import_module(module)
    plan = CrashPlan(on_reach=partial(mark, options.marks) if options.marks else None)
    try:
        if options.point:
            arm(plan, options.action, options.point, match=options.match, nth=options.nth)
    except ConfigurationError as error:
        sys.exit(f"crash_runner: {error}")
    if options.control:
        ControlServer(options.control, plan)
    plan.install()
    sys.argv = [options.module, *options.arguments]
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
