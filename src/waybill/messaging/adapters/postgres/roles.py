"""Least privilege: what a service's run-time role and a reader's role may do in `messaging`.

Neither may run DDL, write the outbox past its append function, or change a row of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waybill.messaging.adapters.postgres.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

_RELAY_META = ("mode", "log", "system_identifier", "timeline", "boundary", "drained_at")

SERVICE_GRANTS = (
    "USAGE ON SCHEMA messaging",
    "SELECT ON messaging.outbox, messaging.outbox_meta, messaging.outbox_seq",
    # Deleting a reader is `waybill consumers forget` (protocol D4).
    "SELECT, DELETE ON messaging.outbox_reader",
    "EXECUTE ON FUNCTION messaging.outbox_append, messaging.require_claim",
    # Of the meta row only what the relay and a change of mode write (protocol L1, L6).
    f"UPDATE ({', '.join(_RELAY_META)}) ON messaging.outbox_meta",
    "SELECT, UPDATE ON messaging.outbox_lane",
    "SELECT, INSERT, UPDATE, DELETE ON messaging.outbox_relay, messaging.outbox_held",
    "SELECT, INSERT, DELETE ON messaging.inbox",
    "SELECT, INSERT, UPDATE, DELETE ON messaging.consumer_source, messaging.schedule",
    "SELECT, INSERT, UPDATE ON messaging.consumer_partition",
    # Verdicts and outcomes are kept: a run-time role deletes none.
    "SELECT, INSERT, UPDATE ON messaging.dead_letters, messaging.deliveries",
)

READER_GRANTS = (
    "USAGE ON SCHEMA messaging",
    "SELECT ON messaging.outbox",
    "EXECUTE ON FUNCTION messaging.register_reader, messaging.report_positions",
)


class Executing(Protocol):
    """A connection of asyncpg."""

    async def execute(self, statement: str) -> str:
        """Run statements."""


async def grant_access(owner_connection: Executing, service_role: str, reader_role: str) -> None:
    """Give both roles what they need and nothing else. Run as the schema's owner; repeatable.

    What was granted before and is not in the lists is taken back.
    """
    with translated():
        await owner_connection.execute(";".join(grants(service_role, reader_role)))


def grants(service_role: str, reader_role: str) -> Iterator[str]:
    """The statements of `grant_access`, for a host that migrates on its own."""
    for role, rights in ((service_role, SERVICE_GRANTS), (reader_role, READER_GRANTS)):
        name = '"' + role.replace('"', '""') + '"'
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            yield f"REVOKE ALL ON ALL {kind} IN SCHEMA messaging FROM {name}"
        yield f"REVOKE ALL ON SCHEMA messaging FROM {name}"
        yield from (f"GRANT {right} TO {name}" for right in rights)
