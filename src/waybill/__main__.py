"""The `waybill` command, also as `python -m waybill`. Ctrl-C ends it without a stack trace."""

from __future__ import annotations

import gc
import sys

INTERRUPTED_STATUS = 130
COLLECT_AFTER = 20_000
"""Looking for cycles among what is being loaded took a sixth of a start's CPU: all of it stays."""


def main() -> None:
    """Run the command line of this process."""
    gc.set_threshold(COLLECT_AFTER)
    try:
        from waybill.cli import main as run  # noqa: PLC0415 - loading can be interrupted, too

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
