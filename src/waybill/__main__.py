"""The `waybill` command, also as `python -m waybill`. Ctrl-C ends it without a stack trace."""

from __future__ import annotations

import sys

INTERRUPTED_STATUS = 130


def main() -> None:
    """Run the command line of this process."""
    try:
        from waybill.cli import main as run  # noqa: PLC0415 - loading can be interrupted, too

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
