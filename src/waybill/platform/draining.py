"""From direct reading to Kafka and back: who still lacks what, and where the other way begins.

Nothing is lost: everybody of the old way has all that stands before the boundary. Nothing is
doubled: what both ways carry, inboxes leave out (protocol L6).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.messaging.adapters.postgres.connection import PostgresSettings
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.ports import Database
    from waybill.messaging.core.relay_start import Drained
    from waybill.messaging.engines.port import Engine

LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Draining:
    """A platform between two ways; `databases` and `reader_urls` by service name."""

    engine: Engine
    blueprint: Blueprint
    databases: Mapping[str, Database]
    reader_urls: Mapping[str, str]
    kafka: KafkaSettings | None

    async def run(self, *, wait_seconds: float, say: Callable[[str], None]) -> None:
        """Wait until nobody lacks anything that is there now, and write the boundaries.

        Raises ConfigurationError telling who is behind after `wait_seconds`.
        """
        found = await self._until_nobody_is_behind(wait_seconds)
        relayed = sorted(name for name, each in found.items() if each.mode != "direct")
        if relayed:
            await self._until_kafka_is_read(relayed, wait_seconds)
            for name in relayed:
                if name in self.blueprint.services:
                    await self._place_readers(name, found[name])
        for name, each in found.items():
            await self.engine.write_boundary(self.databases[name], each.boundary)
            to = "Kafka" if each.mode == "direct" else "direct reading"
            say(f"{name} is drained: {to} begins behind seq {max(each.boundary)}")

    async def _until_nobody_is_behind(self, wait_seconds: float) -> dict[str, Drained]:
        """Of what is there now: what comes meanwhile is beyond the boundary."""
        undrained, databases = self.engine.undrained, self.databases
        deadline = asyncio.get_running_loop().time() + wait_seconds
        found = {name: await undrained(database) for name, database in databases.items()}
        while True:
            behind = [
                f"{who} has {rows} messages of {name} to go"
                for name, each in found.items()
                for who, rows in each.behind.items()
            ]
            if not behind:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise ConfigurationError(
                    f"not drained: {'; '.join(behind)}. Let the platform run as before, without "
                    "new orders if they come too fast, and drain again; a reader that will not "
                    "come back: waybill consumers forget"
                )
            await asyncio.sleep(LOOK_SECONDS)
            found = {
                name: await undrained(databases[name], each.boundary)
                for name, each in found.items()
            }

    async def _until_kafka_is_read(self, relayed: list[str], wait_seconds: float) -> None:
        if self.kafka is None:
            raise ConfigurationError(
                f"{', '.join(relayed)} feed Kafka: set KAFKA_BROKERS, so that it can be asked what "
                "the consumers have read"
            )
        from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415 - only on Kafka

        # Nobody here reads what the accounts service publishes: once sent, it is as far as it goes.
        services = self.blueprint.services
        read = [services[name] for name in relayed if name in services]
        names = [topic for service in read for topic in service.publishes]
        ends = await Topics(self.kafka).end_offsets(names)
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while behind := await self._behind_in_kafka(ends):
            if asyncio.get_running_loop().time() > deadline:
                raise ConfigurationError(
                    f"not drained: {'; '.join(behind)}. Let the platform run on Kafka and drain "
                    "again"
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def _behind_in_kafka(self, ends: Mapping[tuple[str, int], int]) -> list[str]:
        behind = []
        for name, service in self.blueprint.services.items():
            acts_on, database = service.acts_on, self.databases[name]
            stored = await self.engine.partition_positions(database).stored(name)
            for (topic, partition), end in ends.items():
                place = stored.get((topic, partition))
                read = 0 if place is None else place.offset + 1
                if topic in acts_on and read < end:
                    behind.append(f"{name} has {end - read} records of {topic}-{partition} to go")
        return behind

    async def _place_readers(self, source: str, found: Drained) -> None:
        """Who reads this service's topics begins behind the boundary when it reads directly."""
        services = self.blueprint.services
        url = self.reader_urls[source]
        reading = await self.engine.connect(url, PostgresSettings(pool_max=1))
        try:
            for name, service in services.items():
                if topics := service.reads_of(services[source]):
                    await self.engine.places.place(
                        self.databases[name],
                        reading,
                        consumer=name,
                        source_name=source,
                        topics=topics,
                        positions=found.boundary,
                    )
        finally:
            await reading.close()
