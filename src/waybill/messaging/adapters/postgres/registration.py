"""A reader says at an outbox how far it is, and hears how the outbox stands (protocol D3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.reading.standing import Registration

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Row

REGISTER = """
SELECT known, horizon, horizon_at, last_seq, system_identifier, timeline, start, positions
FROM messaging.register_reader($1, $2, $3, $4)
"""
"""Consumer, topics, positions and start; the last two may be NULL: as they are, or at the start."""


def registration(row: Row) -> Registration:
    """What REGISTER gave."""
    fields = {name: row[name] for name in Registration.__struct_fields__}
    arrays = {name: tuple(fields[name]) for name in ("start", "positions")}
    return Registration(**{**fields, **arrays})
