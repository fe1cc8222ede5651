"""Runs the pip that comes with Python, straight from its wheel: no pip is installed for it.

`.venv/bin/python scripts/bootstrap.py install …`: installing pip first would cost two seconds of
every fresh set-up.
"""

from __future__ import annotations

import ensurepip
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Become pip."""
    # Debian keeps the wheels outside of ensurepip and names the place here
    elsewhere = getattr(ensurepip, "_WHEEL_PKG_DIR", None)
    folder = Path(elsewhere) if elsewhere else Path(ensurepip.__file__).parent / "_bundled"
    wheels = sorted(folder.glob("pip-*.whl"))
    if wheels:
        sys.path.insert(0, str(wheels[-1]))
    else:
        ensurepip.bootstrap()
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
