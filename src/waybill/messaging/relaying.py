"""One service on Kafka: its relay, what it writes with, and where its consumers read.

Part of the library's composition root; imported only by services that have Kafka.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.log import KafkaLog
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.adapters.kafka.witness import KafkaWitness
from waybill.messaging.adapters.kafka.writer import KafkaLogWriter
from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.runtime.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.adapters.kafka.headers import ReadForeign
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Log, Written
    from waybill.messaging.engines.port import Engine
    from waybill.messaging.runtime.ports import ServicePorts
    from waybill.messaging.runtime.relay_settings import RelaySettings


class PreparedWriter:
    """See LogWriter. The topics are there before anybody learns which log this is."""

    def __init__(self, settings: KafkaSettings, topics: set[str], mode: str) -> None:
        self._writer = KafkaLogWriter(settings) if mode == "relay" else KafkaWitness(settings)
        self._topics = Topics(settings)
        self._names = topics

    async def identity(self) -> str:
        """See LogWriter. Raises ConfigurationError for a topic with other partitions (C11)."""
        await self._topics.prepare(self._names)
        return await self._writer.identity()

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter."""
        return await self._writer.write(records)

    async def purge(self) -> None:
        """See LogWriter."""
        await self._writer.purge()

    async def close(self) -> None:
        """See LogWriter."""
        await self._writer.close()


class Relaying:
    """The relay of one service and all that it stands on. Made inside a running loop."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        storage: Engine,
        ports: ServicePorts,
        kafka: KafkaSettings,
        settings: RelaySettings,
        read_foreign: ReadForeign | None = None,
        dead_letter_suffix: str = DEAD_LETTER_SUFFIX,
    ) -> None:
        self._dead_letter_suffix = dead_letter_suffix
        self._topics: set[str] = set()
        self._writer = PreparedWriter(kafka, self._topics, settings.mode)
        self._log = KafkaLog(
            kafka, storage.partition_positions(ports.database), read_foreign=read_foreign
        )
        self._store, call_at_hints = storage.feeding(
            name,
            url,
            ports.database,
            application_name=f"waybill {name} relay",
            rewind_seconds=settings.rewind_seconds,
            mode=settings.mode,
        )
        self.relay = Relay(
            f"{name} relay",
            source=name,
            store=self._store,
            writer=self._writer,
            member=f"{socket.gethostname()}:{os.getpid()}",
            clock=ports.clock,
            observer=ports.observer,
            random=ports.random,
            new_id=ports.new_id,
            settings=settings,
        )
        call_at_hints(self.relay.ring)

    def publishes(self, topics: Iterable[str]) -> None:
        """These topics are created at the start, if nobody has yet."""
        self._topics.update(topics)

    def log(self, topics: Iterable[str]) -> Log:
        """Where a consumer of these reads; they are created, with those for its dead letters."""
        for name in topics:
            self._topics |= {name, name + self._dead_letter_suffix}
        return self._log

    async def close(self) -> None:
        """After the relay was stopped: drop what is not sent; it stands in the outbox."""
        await self._writer.close()
        await self._store.close()
