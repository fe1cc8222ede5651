"""The environment of the baselines: made from the lock, beside the product's and never in it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.cluster import CannotMeasureError

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "requirements.lock"
ENVIRONMENT: Final = HERE / ".venv"
PYTHON: Final = ENVIRONMENT / "bin" / "python"
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


async def prepared() -> Path:
    """The environment's Python; made now if the lock changed since it was made."""
    stamp, wanted = ENVIRONMENT / ".made-from", LOCK.read_text()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return PYTHON
    await _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT))
    await _run(
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode"),
        *("--python", str(PYTHON), "--require-hashes", "-r", str(LOCK)),
    )
    stamp.write_text(wanted)
    return PYTHON


async def _run(*command: str) -> None:
    environment = dict(os.environ)
    if CERTIFICATES.exists():  # as pip uses them: a company's proxy is known there only
        environment.setdefault("UV_SYSTEM_CERTS", "true")
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip()[-500:]
        raise CannotMeasureError(f"the baselines' environment {ENVIRONMENT} cannot be made: {said}")
