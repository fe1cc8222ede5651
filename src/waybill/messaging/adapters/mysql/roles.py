"""Least privilege on MariaDB and MySQL: what a run-time role and a reader's role may write.

Neither may run DDL or change a row of the outbox. SELECT on the whole database is the
administrator's to give; these are given by the tables' owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE_GRANTS = (
    "INSERT ON messaging_outbox",
    # Of these two a flush and a change of mode take locks (protocol O2, L6).
    "UPDATE ON messaging_outbox_lock",
    "UPDATE ON messaging_outbox_meta",
    # Deleting a reader is `waybill consumers forget` (protocol D4).
    "INSERT, UPDATE, DELETE ON messaging_outbox_reader",
    "UPDATE ON messaging_outbox_lane",
    "INSERT, UPDATE, DELETE ON messaging_outbox_relay",
    "INSERT, UPDATE, DELETE ON messaging_outbox_held",
    "INSERT, UPDATE, DELETE ON messaging_inbox",
    "INSERT, UPDATE, DELETE ON messaging_consumer_source",
    "INSERT, UPDATE, DELETE ON messaging_schedule",
    "INSERT, UPDATE ON messaging_consumer_partition",
    # Verdicts and outcomes are kept: a run-time role deletes none.
    "INSERT, UPDATE ON messaging_dead_letters",
    "INSERT, UPDATE ON messaging_deliveries",
)

READER_GRANTS = (
    "SELECT ON messaging_outbox",
    "SELECT ON messaging_outbox_meta",
    "SELECT, INSERT, UPDATE ON messaging_outbox_reader",
)


def grants(service_role: str, reader_role: str) -> Iterator[str]:
    """The statements, for the tables' owner; they may be repeated."""
    for role, rights in ((service_role, SERVICE_GRANTS), (reader_role, READER_GRANTS)):
        yield from (f"GRANT {right} TO '{role}'@'%'" for right in rights)
