"""pgbench's single-row commits: what this PostgreSQL can commit at all."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks.cluster import fresh_database
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.binaries import installed_programs

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS: Final = (8, 16, 32, 64)
DATABASE: Final = "pgbench"
SCHEMA: Final = """
CREATE TABLE commits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content text NOT NULL
)
"""
SCRIPT: Final = "INSERT INTO commits (content) VALUES (repeat('x', 100));\n"
_RATE = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)", re.MULTILINE)


class PgbenchError(Exception):
    """pgbench failed, or said nothing that could be understood."""


async def single_row_commits(data: Path, clients: int, seconds: float) -> float:
    """Commits a second of one row each, prepared statements, on an own server of these data."""
    async with EmbeddedPostgres(data) as server:
        async with fresh_database(data, DATABASE, SCHEMA):
            pass
        return await _run(data, server.url(DATABASE), clients, seconds)


async def _run(data: Path, address: str, clients: int, seconds: float) -> float:
    script = data / "single-row.sql"
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        str(installed_programs() / "pgbench"),
        *("--no-vacuum", "--protocol", "prepared", "--client", str(clients)),
        *("--jobs", "2", "--time", str(max(1, round(seconds))), "--file", str(script)),
        env={**os.environ, **_environment(address)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    found = _RATE.search(output.decode())
    if process.returncode != 0 or found is None:
        raise PgbenchError(errors.decode()[-500:] or output.decode()[-500:])
    return float(found.group(1))


def _environment(address: str) -> dict[str, str]:
    """Variables of libpq: a password on a command line can be read by everybody."""
    url = urlsplit(address)
    return {
        "PGHOST": parse_qs(url.query)["host"][0],
        "PGDATABASE": unquote(url.path.lstrip("/")),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
    }
