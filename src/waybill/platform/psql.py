"""`waybill psql`: the wheel's psql on one service's database."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from waybill.platform.embedded import borrowed
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.provisioning import urls_of

if TYPE_CHECKING:
    from pathlib import Path


async def open_psql(data_directory: Path, service: str, *, command: str | None, write: bool) -> int:
    """Run psql on our terminal as the database's owner; its exit status.

    The password goes by the environment: a command line can be read by everybody.
    """
    async with borrowed(data_directory) as server:
        url = urlsplit(urls_of(server, service).owner)
        environment = {
            **os.environ,
            "PGHOST": parse_qs(url.query)["host"][0],
            "PGDATABASE": unquote(url.path.lstrip("/")),
            "PGUSER": unquote(url.username or ""),
            "PGPASSWORD": unquote(url.password or ""),
            "PGOPTIONS": f"-c default_transaction_read_only={'off' if write else 'on'}",
            "PGAPPNAME": "waybill psql",
        }
        arguments = ["--no-psqlrc", *(("--command", command) if command is not None else ())]
        process = await asyncio.create_subprocess_exec(
            str(installed_programs() / "psql"), *arguments, env=environment
        )
        return await process.wait()
