"""Seed 003's relay: every 500 ms up to 100 rows, each sent and waited for, then marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from confluent_kafka import Producer

if TYPE_CHECKING:
    import threading

POLL_SECONDS: Final = 0.5
"""Of fixed delay: from the end of one turn to the start of the next, as its scheduler does."""
LIMIT: Final = 100
_UNPUBLISHED = """
SELECT id, topic, aggregate_id, event_type, payload FROM outbox_events
WHERE NOT published ORDER BY created_at LIMIT %s
"""
_PUBLISHED = "UPDATE outbox_events SET published = true, published_at = now() WHERE id = %s"


class RelayFailedError(Exception):
    """The broker did not take a record."""


def relay(url: str, bootstrap: str, stop: threading.Event) -> None:
    """Publish what is there, wait, again; until told to stop."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
    )
    with psycopg.connect(url) as connection:
        while not stop.is_set():
            with connection.transaction():
                for id_, topic, key, kind, payload in connection.execute(_UNPUBLISHED, (LIMIT,)):
                    headers = [("eventId", str(id_).encode()), ("eventType", kind.encode())]
                    producer.produce(topic, payload, str(key), headers=headers)
                    if producer.flush(30):
                        raise RelayFailedError(f"{topic}: no acknowledgement in 30 s")
                    connection.execute(_PUBLISHED, (id_,))
            stop.wait(POLL_SECONDS)
