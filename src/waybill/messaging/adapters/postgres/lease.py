"""Voids the leases of the dead, for a platform that is alone on its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

# A delivery keeps its token: whoever claims it then asks before calling (protocol M6).
_RELEASE_ALL = """
WITH deliveries AS (
    UPDATE messaging.deliveries SET lease_until = clock_timestamp()
    WHERE state = 'PENDING' AND lease_until > clock_timestamp()
), schedule AS (
    UPDATE messaging.schedule SET lease_token = NULL, lease_until = NULL
    WHERE lease_token IS NOT NULL
), members AS (
    DELETE FROM messaging.outbox_relay
), lanes AS (
    UPDATE messaging.outbox_lane SET token = NULL, lease_until = NULL WHERE token IS NOT NULL
)
UPDATE messaging.consumer_source SET lease_token = NULL, lease_until = NULL
WHERE lease_token IS NOT NULL
"""


async def release_all(database: Database) -> None:
    """Void every lease in this database: of consumers, relays, deliveries and periodic work.

    For a platform that knows itself alone on its data (a lock on the data directory), so that a
    start after SIGKILL does not wait for the leases of the dead.
    """
    await database.fetch(_RELEASE_ALL)
