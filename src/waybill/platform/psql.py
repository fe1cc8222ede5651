"""`waybill psql`: a terminal on one service's database, whoever runs its server."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.databases import reached, urls_of
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.own_databases import OwnDatabases

if TYPE_CHECKING:
    from waybill.platform.settings import Settings


async def open_psql(settings: Settings, service: str, *, command: str | None, write: bool) -> int:
    """Run psql on our terminal as the database's owner; its exit status.

    The password goes by the environment: a command line can be read by everybody.
    """
    async with reached(settings) as server:
        if isinstance(server, OwnDatabases) and server.on_mysql:
            raise ConfigurationError(
                "psql is PostgreSQL's: open this database with the client `mariadb` or `mysql`, "
                f"by what `waybill url {service} --role owner` prints"
            )
        url = urlsplit(urls_of(server, service).owner)
        login, _, host = url.netloc.rpartition("@")
        role, _, password = login.partition(":")
        place = urlunsplit(url._replace(netloc=f"{role}@{host}"))
        environment = {
            **os.environ,
            "PGPASSWORD": unquote(password),
            "PGOPTIONS": f"-c default_transaction_read_only={'off' if write else 'on'}",
            "PGAPPNAME": "waybill psql",
        }
        arguments = [
            "--no-psqlrc",
            "--dbname",
            place,
            *(("--command", command) if command is not None else ()),
        ]
        wheels = str(installed_programs() / "psql")
        # The wheel's knows no TLS, which a server of the user's may ask for.
        program = shutil.which("psql") if isinstance(server, OwnDatabases) else None
        process = await asyncio.create_subprocess_exec(
            program or wheels, *arguments, env=environment
        )
        return await process.wait()
