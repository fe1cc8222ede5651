"""A run of records on its way to Kafka: which of them are acknowledged, and what went wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.errors import NEVER, sending_error
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import KafkaError
    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.core.message import Record


class BatchRefusedError(TransientError):
    """The broker refused a batch and names no record of it: each is sent alone."""


class Run:
    """One call of `write`. Reports arrive on the event loop, since only it polls the producer.

    `failed` is called once, with the run, as soon as its first record is known not to be written.
    """

    __slots__ = (
        *("acknowledged", "done", "error", "failed_at", "has_begun", "has_failed", "in_flight"),
        *("_failed", "lane", "records", "sent"),
    )

    def __init__(self, records: Sequence[Record], failed: Callable[[Run], None]) -> None:
        self.records = records
        self.lane = (records[0].source, records[0].lane)
        self.acknowledged = bytearray(len(records))
        self.has_begun = False
        """Its turn has come; before that the producer knows nothing of it."""
        self.sent = 0
        self.in_flight = 0
        """How many of those sent have no report yet."""
        self.error: Exception | None = None
        self.has_failed = False
        """Stays, even if what was left behind is written later and there is no error any more."""
        self.failed_at = len(records)
        self.done = asyncio.Event()
        self._failed = failed

    def reported(self, index: int, error: KafkaError | None, message: KafkaMessage) -> None:
        """The delivery report of one record; only its offset shows that it is in the topic."""
        if self.done.is_set():
            return
        self.in_flight -= 1
        if error is None and message.offset() is not None:
            self.acknowledged[index] = 1
        elif index < self.failed_at:
            self.fail(index, self._reason(index, error))
        if not self.in_flight and (self.error is not None or self.sent == len(self.records)):
            self.done.set()

    def _reason(self, index: int, error: KafkaError | None) -> Exception:
        if error is None:
            # The broker called it a repeat. It also does that to a producer's first batch of a
            # partition that had no leader yet, if it has taken the one sent behind it before.
            return TransientError("a record was called a repeat, and has no offset")
        if error.code() in NEVER:
            return BatchRefusedError(error.str())
        return sending_error(error, self.records[index].message.topic)

    def fail(self, index: int, error: Exception) -> None:
        """The record there was not written; the first of those is what counts."""
        self.failed_at, self.error = index, error
        if not self.has_failed:
            self.has_failed = True
            self._failed(self)

    def cut(self, error: Exception) -> None:
        """No report comes any more."""
        if not self.done.is_set():
            self.fail(self.from_start(), error)
            self.done.set()

    def from_start(self) -> int:
        """How many records from its start are acknowledged."""
        first_open = self.acknowledged.find(0)
        return len(self.records) if first_open < 0 else first_open
