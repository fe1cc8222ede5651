"""What commands show of Kafka: topics, consumers' places in them, and records, as brokers tell."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database
    from waybill.messaging.engines.port import Engine
    from waybill.platform.settings import Settings

FOLLOW_SECONDS = 0.5

Row = dict[str, object]
Place = tuple[str, int]


def kafka_of(*, outboxes: bool) -> KafkaSettings | None:
    """The brokers that KAFKA_BROKERS names; None without, or if the outboxes are meant."""
    return None if outboxes else KafkaSettings.from_environment(os.environ)


async def topic_rows(kafka: KafkaSettings, settings: Settings) -> list[Row]:
    """A row for each partition of the platform's topics, those for dead letters too."""
    from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415 - fast help
    from waybill.messaging.core.message import DEAD_LETTER_SUFFIX  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    names = [name + end for name in chosen(settings).topics for end in ("", DEAD_LETTER_SUFFIX)]
    topics = Topics(kafka)
    ends, starts = await topics.end_offsets(names), await topics.first_offsets(names)
    return [
        {
            "topic": topic,
            "partition": partition,
            "first_offset": starts.get((topic, partition), 0),
            "end_offset": end,
            "records": max(0, end - starts.get((topic, partition), 0)),
        }
        for (topic, partition), end in sorted(ends.items())
    ]


def summed(rows: Sequence[Row], by: tuple[str, ...], figures: tuple[str, ...]) -> list[Row]:
    """The rows of partitions added up; `partitions` counts them."""
    found: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        total = found.setdefault(key, {**row, "partitions": 0, **dict.fromkeys(figures, 0)})
        for name, more in {"partitions": 1, **{name: row[name] for name in figures}}.items():
            total[name] = int(str(total[name])) + int(str(more or 0))
    return list(found.values())


async def consumer_rows(
    kafka: KafkaSettings, settings: Settings, databases: Mapping[str, Database], engine: Engine
) -> list[Row]:
    """A row for each partition that a consumer reads: its position is the next offset to read.

    The position stands in the consumer's own database (protocol C15), None if it never read.
    """
    from waybill.messaging.adapters.kafka.group_lag import (  # noqa: PLC0415 - fast help
        GroupLag,
        GroupMembers,
    )
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    services = [each for each in chosen(settings).services.values() if each.acts_on]
    members = await GroupMembers(kafka, [service.name for service in services]).look()
    rows: list[Row] = []
    for service in services:
        stored = await engine.partition_positions(databases[service.name]).stored(service.name)
        read = {place: position.offset + 1 for place, position in stored.items()}

        async def positions(
            read: Mapping[Place, int] = read,
        ) -> dict[tuple[str, int], int]:
            return dict(read)

        lag = GroupLag(kafka, service.name, service.acts_on, time.monotonic, read=positions)
        rows += [
            {
                "consumer": service.name,
                "topic": place[0],
                "partition": place[1],
                "position": read.get(place),
                "lag": behind.records,
                "members": members[service.name],
            }
            for place, behind in sorted((await lag.look()).items())
        ]
    return rows


async def read_records(
    kafka: KafkaSettings,
    settings: Settings,
    topic: str,
    *,
    from_end: bool,
    follow: bool,
    key: str | None,
) -> AsyncIterator[Record]:
    """Records of a topic, each partition's in order; as a stranger, in no group.

    Raises ConfigurationError if there is no such topic. With `follow` it never ends by itself.
    """
    from waybill.messaging.adapters.kafka.topics import Topics  # noqa: PLC0415 - fast help
    from waybill.messaging.core.errors import ConfigurationError  # noqa: PLC0415 - as above

    topics = Topics(kafka)
    ends = await topics.end_offsets([topic])
    if not ends:
        raise ConfigurationError(f"Kafka has no topic {topic}: see waybill topics list")
    starts = ends if from_end else await topics.first_offsets([topic])
    while True:
        pages = _records(kafka, settings, starts, ends)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            for record in page:
                if key is None or record.message.key == key:
                    yield record
        if not follow:
            return
        await asyncio.sleep(FOLLOW_SECONDS)
        starts, ends = ends, await topics.end_offsets([topic])


def _records(
    kafka: KafkaSettings,
    settings: Settings,
    starts: Mapping[Place, int],
    ends: Mapping[Place, int],
) -> Iterator[list[Record]]:
    from waybill.messaging.adapters.kafka.headers import to_record  # noqa: PLC0415 - fast help
    from waybill.messaging.adapters.kafka.scan import pages  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    read_foreign = chosen(settings).read_foreign
    for page in pages(kafka, starts, ends):
        yield [to_record(each, read_foreign) for each in page]
