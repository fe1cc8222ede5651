"""The thread of one consumer: every call that needs the client is made here (protocol C0).

It goes on polling whatever the rest of the process does, so a database that is down for minutes
costs no membership; what nobody takes is paused.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from waybill.messaging.adapters.kafka.assignment import Assignment, Chunk, Place
from waybill.messaging.adapters.kafka.errors import outage, served
from waybill.messaging.adapters.kafka.producer import client_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Message

    from waybill.messaging.adapters.kafka.headers import Consumed
    from waybill.messaging.adapters.kafka.settings import KafkaSettings

STEP_SECONDS = 0.05
"""The longest that a command waits for a poll."""
BUSY_SECONDS = 0.002
PROBE_SECONDS = 1.0
LOOK_UP_SECONDS_MAX = 5.0
REBUILD_SECONDS = 1.0
TROUBLE_LOG_SECONDS = 10.0

_MISSING = KafkaError.UNKNOWN_TOPIC_OR_PART

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """What the group and the log know of a partition that was given to us."""

    committed: int | None
    low: int
    high: int


class Poller:
    """Polls until `close`. `wake` is called, on the thread, whenever the loop should look."""

    def __init__(
        self,
        properties: dict[str, Any],
        topics: Sequence[str],
        assignment: Assignment,
        *,
        settings: KafkaSettings,
        wake: Callable[[], None],
        found: Callable[[int, dict[Place, Found]], None],
    ) -> None:
        self.trouble: dict[str, str] = {}
        """What cannot be read now, and why: by topic, or "" for all."""
        self._properties = properties
        self.topics = tuple(topics)
        self._assignment = assignment
        self._settings = settings
        self._wake = wake
        self._found = found
        self._commands: deque[Callable[[Consumer], None]] = deque()
        self._logs: dict[str, str] = {}
        """Of each topic: which log of that name the client knows."""
        self._is_outdated = False
        """A topic was made anew, and the client does not read it: another client will."""
        self._closing = threading.Event()
        self._client: Consumer | None = None
        self._generation = 0
        """Up to which the commands have been carried out."""
        self._to_start: dict[int, set[Place]] = {}
        self._is_paused = False
        self._full_since: float | None = None
        self._commit_at = 0.0
        self._probe_at = self._look_up_at = 0.0
        self.failure: Exception | None = None
        """What ended the thread, if anything did: a bug, never an outage."""
        self._logged_at: dict[str, float] = {}
        self._thread = threading.Thread(
            target=self._run, name=f"kafka {properties['group.id']}", daemon=True
        )

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def close(self) -> None:
        """Commit what is to be committed, leave the group, end the thread. Blocks.

        No longer than its bound: the client waits for ever for brokers that are away. The
        positions stand in the database, and the session's end gives the partitions to others.
        """
        self._closing.set()
        with self._assignment.changed:
            self._assignment.changed.notify_all()
        self._thread.join(self._settings.close_seconds_max)
        if self._thread.is_alive():
            logger.warning(
                "%s was not left within %g s: its session will end by itself",
                *(self._thread.name, self._settings.close_seconds_max),
            )
            self._assignment.drop(list(self._assignment.partitions))

    def begin(self, place: Place, generation: int, log: str, was: str, last: int) -> None:
        """Read this partition behind `last`; `was`: the log in which it was read before.

        In a topic that is made anew the leader epochs begin anew as well, and a client that knows
        greater ones takes all that it is told of it for old news, for ever (librdkafka 2.16).
        """

        def seek(client: Consumer) -> None:
            if self._logs.setdefault(place[0], was) != log:
                self._logs[place[0]] = log
                self._is_outdated = True
            if self._is_outdated:
                return
            if self._assignment.start(place, generation, log, last):
                self._seek(client, place, last + 1)
                if not self._is_paused:
                    client.resume([TopicPartition(*place)])

        self._commands.append(seek)

    def rewind(self, places: Iterable[Place]) -> None:
        """Read these again behind what is committed in the database."""
        chosen = list(places)
        generation = self._assignment.restart(chosen)

        def seek(client: Consumer) -> None:
            self._generation = max(self._generation, generation)
            for place in chosen:
                assigned = self._assignment.partitions.get(place)
                if assigned is not None and assigned.generation == generation:
                    self._seek(client, place, assigned.acknowledged + 1)

        self._commands.append(seek)

    def take_again(self, places: Iterable[Place]) -> None:
        """Another member had these meanwhile: ask the database anew where they stand."""
        chosen = list(places)

        def again(client: Consumer) -> None:
            ours = [place for place in chosen if place in self._assignment.partitions]
            client.pause([TopicPartition(*place) for place in ours])
            generation = self._generation = self._assignment.give(ours)
            self._to_start.setdefault(generation, set()).update(ours)

        self._commands.append(again)

    def lag(self) -> dict[Place, int]:
        """How many records each partition of ours had behind the last one handed out."""
        client = self._client
        if client is None:
            return {}
        behind: dict[Place, int] = {}
        for place, assigned in list(self._assignment.partitions.items()):
            _, high = client.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high >= 0 and assigned.is_ready:
                behind[place] = max(0, high - 1 - assigned.handed)
        return behind

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._live()
                self._closing.wait(REBUILD_SECONDS)
        except Exception as error:  # noqa: BLE001 - a thread's edge: `fetch` raises it
            self.failure = error
            self._wake()

    def _live(self) -> None:
        """From joining the group to leaving it, or to an error that the client cannot heal."""
        self._is_outdated = False
        client = Consumer(
            {**self._properties, "error_cb": self._failed, "on_commit": self._committed},
            logger=client_log,
        )
        self._know_topics(client)
        client.subscribe(
            list(self.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self._client = client
        try:
            self._poll_until_broken(client)
        finally:
            self._client = None
            self._leave(client)

    def _know_topics(self, client: Consumer) -> None:
        """Let the client know the topics' ids before its group names them.

        A group that names an id that the client has not heard of yet has ended the process.
        """
        try:
            client.list_topics(timeout=LOOK_UP_SECONDS_MAX)
        except KafkaException as error:
            logger.debug("topics not listed: %s", error)

    def _poll_until_broken(self, client: Consumer) -> None:
        while not self._closing.is_set() and not self._is_outdated:
            _, error = served(partial(self._turn, client))
            if error is not None:
                self._say("", outage(error))
                if error.fatal():
                    return

    def _turn(self, client: Consumer) -> int:
        while self._commands:
            self._commands.popleft()(client)
        self._look_up_if_due(client)
        self._commit_if_due(client)
        size = self._settings.poll_records_max
        if self._assignment.buffered > size:
            self._wait_for_room(client)
            return 0
        if self._is_paused:
            self._pause(client, paused=False)
        self._full_since = None
        first = client.poll(STEP_SECONDS)
        if first is None:
            self._probe(client)
            return 0
        self._take([first, *client.consume(size - 1, 0)] if size > 1 else [first])
        return 1

    def _wait_for_room(self, client: Consumer) -> None:
        """Nobody takes records: wait a little; in the long run pause, and poll for the group."""
        now = time.monotonic()
        self._full_since = self._full_since or now
        if self._is_paused:
            message = client.poll(STEP_SECONDS)
            if message is not None:
                self._take([message])
        elif now - self._full_since >= self._settings.pause_after_seconds:
            self._pause(client, paused=True)
        else:
            time.sleep(BUSY_SECONDS)

    def _pause(self, client: Consumer, *, paused: bool) -> None:
        partitions = self._assignment.partitions
        ours = [TopicPartition(*place) for place, each in partitions.items() if each.is_ready]
        if paused:
            client.pause(ours)
        else:
            client.resume(ours)
        self._is_paused = paused

    def _take(self, messages: list[Message]) -> None:
        good: list[Message] = []
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
            else:
                self._refused(error, message)
        if good:
            if self.trouble:
                self.trouble.clear()
            self._assignment.push(Chunk(self._generation, cast("list[Consumed]", good)))
            self._wake()

    def _refused(self, error: KafkaError, message: Message) -> None:
        topic, partition = message.topic() or "", message.partition()
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition is not None:  # noqa: SLF001
            logger.warning("%s partition %d: its position left the log", topic, partition)
            self.take_again([(topic, partition)])
            return
        self._say(topic, outage(error, topic))

    def _say(self, topic: str, error: Exception) -> None:
        """Remember a trouble; log it now and then."""
        now = time.monotonic()
        self.trouble[topic] = str(error)
        if now - self._logged_at.get(topic, -TROUBLE_LOG_SECONDS) >= TROUBLE_LOG_SECONDS:
            self._logged_at[topic] = now
            logger.warning("%s", error)
        self._wake()

    def _failed(self, error: KafkaError) -> None:
        """The client's own errors: it heals most of them."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's name
            self._say("", outage(error))

    def _probe(self, client: Consumer) -> None:
        """Nothing comes: see whether the brokers are back, and whether each topic is there.

        The group simply takes away the partitions of a topic that is deleted.
        """
        now = time.monotonic()
        if now < self._probe_at:
            return
        held = {topic for topic, _ in self._assignment.partitions}
        if not self.trouble and held.issuperset(self.topics):
            return
        self._probe_at = now + PROBE_SECONDS
        known = client.list_topics(timeout=PROBE_SECONDS).topics
        self.trouble.pop("", None)
        for topic in self.topics:
            error = known[topic].error if topic in known else KafkaError(_MISSING)
            if error is None:
                self.trouble.pop(topic, None)
            elif topic not in held:
                self._say(topic, outage(error, topic))

    def _look_up_if_due(self, client: Consumer) -> None:
        """Tell the loop where the group and the log stand with what was given to us."""
        now = time.monotonic()
        if not self._to_start or now < self._look_up_at:
            return
        # If it raises, polling goes on before it is tried again.
        self._look_up_at = now + PROBE_SECONDS
        for generation, places in list(self._to_start.items()):
            told = self._look_up(client, sorted(places))
            del self._to_start[generation]
            self._found(generation, told)
        self._look_up_at = now

    def _look_up(self, client: Consumer, places: Sequence[Place]) -> dict[Place, Found]:
        seconds = min(LOOK_UP_SECONDS_MAX, self._settings.request_timeout_seconds)
        told: dict[Place, Found] = {}
        if not places:
            return told
        asked = [TopicPartition(*place) for place in places]
        for each in client.committed(asked, timeout=seconds):
            low, high = client.get_watermark_offsets(each, timeout=seconds)
            committed = each.offset if each.offset >= 0 else None
            told[each.topic, each.partition] = Found(committed, low, high)
        return told

    def _seek(self, client: Consumer, place: Place, offset: int) -> None:
        try:
            client.seek(TopicPartition(*place, offset))
        except KafkaException as error:
            logger.debug("%s partition %d not sought: %s", *place, error)

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        for each in partitions:
            # Anywhere, paused: the database has not told yet where to begin.
            each.offset = OFFSET_BEGINNING
        client.incremental_assign(partitions)
        client.pause(partitions)
        generation = self._generation = self._assignment.give(places)
        self._to_start[generation] = set(places)
        logger.debug("given: %s", places)

    def _revoked(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        self._assignment.revoke(places)
        self._wake()
        if not self._closing.is_set():
            self._assignment.wait_closed(places, self._settings.revoke_wait_seconds)
        self._commit(client, self._assignment.offsets(places), wait=True)
        self._forget(places)
        client.incremental_unassign(partitions)
        logger.debug("given back: %s", places)

    def _lost(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        logger.warning("this member was taken for dead; its partitions: %s", places)
        self._forget(places)
        client.incremental_unassign(partitions)

    def _forget(self, places: Sequence[Place]) -> None:
        self._assignment.drop(places)
        self._generation = max(self._generation, self._assignment.generation)
        for waiting in self._to_start.values():
            waiting.difference_update(places)
        self._wake()

    def _commit_if_due(self, client: Consumer) -> None:
        now = time.monotonic()
        if self._assignment.to_commit and now >= self._commit_at:
            self._commit_at = now + self._settings.commit_interval_seconds
            self._commit(client, self._assignment.offsets(), wait=False)

    def _commit(self, client: Consumer, offsets: dict[Place, int], *, wait: bool) -> None:
        """Tell the group. The database is the truth, so a failure costs nothing but lag shown."""
        if not offsets:
            return
        told = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        try:
            if wait:
                client.commit(offsets=told, asynchronous=False)
            else:
                client.commit(offsets=told, asynchronous=True)
        except KafkaException as error:
            logger.debug("offsets not committed: %s", error)

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            logger.debug("offsets not committed: %s", error.str())

    def _leave(self, client: Consumer) -> None:
        try:
            self._commit(client, self._assignment.offsets(), wait=True)
            served(partial(_closed, client))
        except KafkaException as error:
            logger.debug("the group was not left in order: %s", error)
        self._assignment.drop(list(self._assignment.partitions))
        self._to_start.clear()
        self._wake()


def _closed(client: Consumer) -> int:
    client.close()
    return 0
