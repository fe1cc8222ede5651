"""Finds the record that a broker refuses: each alone in flight, so that its error is its own.

The refusal of a batch names no record, and everything behind it has been stopped by then (L4).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from waybill.messaging.adapters.kafka.errors import error_of, outage, sending_error, served
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.adapters.kafka.producer import (
    client_log,
    dispose,
    producer_properties,
)
from waybill.messaging.core.errors import TransientError

if TYPE_CHECKING:
    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.adapters.kafka.runs import Run
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Message

POLL_SECONDS = 0.002


class OneByOne:
    """Sends the rest of runs that a broken producer left behind, one run after the other."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._purges = 0

    async def send(self, run: Run) -> None:
        """Until its end or its first record that is not written; `run.error` says which."""
        known, purges = run.error, self._purges
        async with self._turn:
            if run.error is not known:
                return
            properties = producer_properties(self._settings, gapless=False)
            producer = Producer(properties, logger=client_log)
            try:
                error = await self._rest(producer, run, purges)
            finally:
                await asyncio.to_thread(dispose, producer)
        run.error = error

    def purge(self) -> None:
        """End what is under way."""
        self._purges += 1

    async def close(self) -> None:
        """Wait until it has ended."""
        async with self._turn:
            return

    async def _rest(self, producer: Producer, run: Run, purges: int) -> Exception | None:
        for index in range(run.from_start(), len(run.records)):
            if not run.acknowledged[index]:
                error = await self._one(producer, run.records[index].message, purges)
                if error is not None:
                    return error
                run.acknowledged[index] = 1
        return None

    async def _one(self, producer: Producer, message: Message, purges: int) -> Exception | None:
        reports: list[KafkaError | None] = []

        def reported(error: KafkaError | None, _: KafkaMessage) -> None:
            reports.append(error)

        try:
            producer.produce(
                message.topic,
                message.value,
                message.key.encode() or None,
                headers=to_headers(message),
                on_delivery=reported,
            )
        except KafkaException as raised:
            found = error_of(raised)
            return sending_error(found, message.topic) if found else TransientError(str(raised))
        while not reports:
            _, fatal = served(partial(producer.poll, 0))
            if fatal is not None:
                return outage(fatal, message.topic)
            if purges != self._purges:
                return TransientError("what was not sent yet has been dropped")
            await asyncio.sleep(POLL_SECONDS)
        return sending_error(reports[0], message.topic) if reports[0] is not None else None
