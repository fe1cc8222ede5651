"""The writing end of a log that somebody else writes: change data capture (protocol L6).

Writes nothing; acknowledges a run once each of its records stands in its topic. So a relay moves
its positions over what a connector has published, and over nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from waybill.messaging.adapters.kafka.errors import in_thread, outage
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.ports import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.adapters.kafka.headers import Consumed
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Message, Record

LOOK_BACK_SECONDS = 60.0
"""A topic is read from so long before the message was made: clocks of two machines differ."""
LOOK_BACK_GROWTH = 4.0
"""Each time that it is looked for again, so many times further back."""
LOOK_AGAIN_SECONDS = 30.0
"""What was not seen for so long may have been passed unnoticed: its topic is read again."""
LOOK_AGAIN_SECONDS_MAX = 600.0
"""The longest wait between two such readings, each twice the one before it."""
REMEMBERED_MAX = 100_000
"""Ids that stand in a topic and were not asked for yet; the oldest are forgotten."""
POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0
POLL_RECORDS_MAX = 1_000
PREFETCH_KIBIBYTES_MAX = 4 * 1024

ROW_ID, EVENT_ID = "id", "eventId"
"""The header of Debezium's router is the outbox row's id, of dead letters' records as well."""

logger = logging.getLogger(__name__)


class KafkaWitness:
    """See core.ports.LogWriter, but for the writing. For one event loop."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._settings = settings
        self._look_again_seconds = look_again_seconds
        self._remembered_max = remembered_max
        self._consumer: Consumer | None = None
        self._look_back_seconds = LOOK_BACK_SECONDS
        self._starts: dict[str, float] = {}
        """Of each topic that is read: the time (epoch seconds) from which."""
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._runs: dict[_Run, None] = {}
        self._awaited: dict[str, _Run] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def identity(self) -> str:
        """See LogWriter: the id that the cluster gave itself."""
        seconds = self._settings.request_timeout_seconds
        found: Any = await in_thread(partial(self._open().list_topics, timeout=seconds))
        if not found.cluster_id:
            raise TransientError("Kafka did not tell its cluster id in time")
        return f"kafka:{found.cluster_id}"

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter. Ends when somebody else has written all of them."""
        run = _Run([record.message for record in records])
        self._runs[run] = None
        for id_ in run.by_id:
            if id_ in self._seen:
                del self._seen[id_]
                run.missing.discard(id_)
            else:
                self._awaited[id_] = run
        if run.missing:
            self._wanted.set()
            if self._task is None:
                self._task = asyncio.create_task(self._look())
        else:
            run.done.set()
        try:
            await run.done.wait()
            return run.outcome()
        finally:
            self._forget(run)

    async def purge(self) -> None:
        """See LogWriter.purge."""
        for run in list(self._runs):
            run.is_cut = True
            run.done.set()

    async def close(self) -> None:
        """See LogWriter.close."""
        await self.purge()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)

    async def _look(self) -> None:
        """Read the topics as long as something is awaited; one thread at a time polls (C0)."""
        loop = asyncio.get_running_loop()
        looked_at, patience = loop.time(), self._look_again_seconds
        while True:
            await self._wanted.wait()
            again = loop.time() - looked_at > patience
            if again:
                # Reading it all may take longer than that: the next time is given more.
                looked_at, patience = loop.time(), min(patience * 2, LOOK_AGAIN_SECONDS_MAX)
                self._look_back_seconds *= LOOK_BACK_GROWTH
            starts = self._needed(anew=again)
            polling = asyncio.ensure_future(in_thread(partial(self._poll, starts, anew=again)))
            try:
                found = await asyncio.shield(polling)
            except TransientError as error:
                logger.warning("what stands in the topics cannot be seen: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except asyncio.CancelledError:
                await asyncio.wait([polling])  # close must not meet it in the consumer
                raise
            else:
                if self._take(found):
                    looked_at, patience = loop.time(), self._look_again_seconds
                    self._look_back_seconds = LOOK_BACK_SECONDS

    def _needed(self, *, anew: bool) -> dict[str, float]:
        """Topics to read from (another) start, which lies before all that is awaited of them."""
        starts: dict[str, float] = {}
        for id_, run in self._awaited.items():
            message = run.by_id[id_]
            start = message.occurred_at.timestamp() - self._look_back_seconds
            starts[message.topic] = min(start, starts.get(message.topic, start))
        return {
            topic: start
            for topic, start in starts.items()
            if anew or topic not in self._starts or start < self._starts[topic]
        }

    def _poll(self, starts: dict[str, float], *, anew: bool) -> list[str]:
        """Ids of records that came, after going back to these starts. In a thread.

        `anew`: by another client. The one there was may know leader epochs of a topic that was
        made anew since, and takes what it is told of the new one for old news (librdkafka 2.16).
        """
        if anew and self._consumer is not None:
            outdated, self._consumer = self._consumer, None
            self._starts.clear()
            outdated.close()
        consumer = self._open()
        if starts:
            self._assign(consumer, starts)
        records = consumer.consume(POLL_RECORDS_MAX, POLL_SECONDS)
        return [id_ for record in records if (id_ := _id_of(record))]

    def _assign(self, consumer: Consumer, starts: dict[str, float]) -> None:
        seconds = self._settings.request_timeout_seconds
        wanted = []
        for topic, start in starts.items():
            found = consumer.list_topics(topic, timeout=seconds).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            milliseconds = max(0, int(start * 1000))
            wanted += [TopicPartition(topic, number, milliseconds) for number in found.partitions]
        kept = [place for place in consumer.assignment() if place.topic not in starts]
        places = []
        for place in consumer.position(kept) if kept else []:
            if place.offset >= 0:
                places.append(place)
            else:  # nothing came of it yet
                milliseconds = int(self._starts[place.topic] * 1000)
                wanted.append(TopicPartition(place.topic, place.partition, milliseconds))
        consumer.assign([*places, *consumer.offsets_for_times(wanted, timeout=seconds)])
        self._starts.update(starts)

    def _take(self, found: Iterable[str]) -> bool:
        """Note what was seen; whether it was awaited by anybody."""
        helped = False
        for id_ in found:
            run = self._awaited.pop(id_, None)
            if run is None:
                self._seen[id_] = None
                continue
            helped = True
            run.missing.discard(id_)
            if not run.missing:
                run.done.set()
        while len(self._seen) > self._remembered_max:
            self._seen.popitem(last=False)
        if not self._awaited:
            self._wanted.clear()
        return helped

    def _forget(self, run: _Run) -> None:
        self._runs.pop(run, None)
        for id_ in run.missing:
            self._awaited.pop(id_, None)

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._settings.client(),
                    "group.id": f"{self._settings.client_id}-witness",  # never joined
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                    "queued.max.messages.kbytes": PREFETCH_KIBIBYTES_MAX,
                }
            )
        return self._consumer


class _Run:
    """Records of one lane that are waited for together."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.by_id = {str(message.id): message for message in messages}
        self.missing = set(self.by_id)
        self.done = asyncio.Event()
        self.is_cut = False

    def outcome(self) -> Written:
        """How many from the start were seen."""
        if not self.missing:
            return Written(len(self.messages))
        start = (number for number, m in enumerate(self.messages) if str(m.id) in self.missing)
        return Written(next(start), TransientError("nobody has published it yet"))


def _id_of(record: KafkaMessage) -> str | None:
    """The id of the outbox row that it was made of. Raises KafkaException if it is an error."""
    error = record.error()
    if error is not None:
        if not error.retriable():
            raise outage(error)
        return None
    headers = dict(cast("Consumed", record).headers() or ())
    content = headers.get(ROW_ID) or headers.get(EVENT_ID)
    return content.decode("ascii", "replace") if content else None
