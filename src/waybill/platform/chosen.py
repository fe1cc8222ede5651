"""Which blueprint a platform runs. Data of one are never given to another (contracts C42).

A data directory remembers its blueprint, and so does each database on a server of one's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from waybill.blueprints.catalogue import DEFAULT, blueprint_named, with_payment
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from waybill.blueprints.definition import Blueprint
    from waybill.platform.settings import Settings

FILE: Final = "blueprint"
DATABASE: Final = "postgres"
"""Where a data directory keeps its database: data older than blueprints have it, and no FILE."""

COMMENT: Final = "the blueprint of these data is "
"""Begins what a database of one's own remembers."""


def chosen(settings: Settings) -> Blueprint:
    """What the settings say, else what the data are of, else the default.

    Raises ConfigurationError if settings and data disagree.
    """
    kept = _kept(settings.data_directory)
    asked = blueprint_named(settings.blueprint or kept or DEFAULT.name)
    if settings.payment_step:
        asked = with_payment(asked)
    if kept and kept != asked.name:
        raise refused(str(settings.data_directory), kept, asked.name)
    return asked


def claim(settings: Settings) -> Blueprint:
    """As `chosen`, and the data directory remembers it from now on. It must exist."""
    blueprint = chosen(settings)
    file = settings.data_directory / FILE
    if not file.exists():
        file.write_text(blueprint.name + "\n")
    return blueprint


async def claim_database(connection: asyncpg.Connection, blueprint: Blueprint) -> None:
    """The same for a database, as its owner: its tables' schema tells.

    Raises ConfigurationError if it holds data of another blueprint.
    """
    told = await connection.fetchval("SELECT obj_description('app'::regnamespace, 'pg_namespace')")
    found = re.search(rf"{COMMENT}(\S+)", told or "")
    if found is None:
        await connection.execute(f"COMMENT ON SCHEMA app IS '{COMMENT}{blueprint.name}'")
    elif found[1] != blueprint.name:
        place = await connection.fetchval("SELECT current_database()")
        raise refused(f"database {place}", found[1], blueprint.name)


def _kept(data: Path) -> str | None:
    try:
        return (data / FILE).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):  # whoever makes the directory tells of a file
        return DEFAULT.name if (data / DATABASE).exists() else None


def refused(place: str, kept: str, asked: str) -> ConfigurationError:
    """What to say where data of one blueprint are asked for by another."""
    return ConfigurationError(
        f"{place} holds data of the blueprint {kept!r}, not of {asked!r}: choose another "
        f"directory with --data (or other databases), or start it with --blueprint {kept}"
    )
