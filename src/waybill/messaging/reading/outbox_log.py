"""The log of one machine: consumers read the outboxes of the producing services directly."""

from __future__ import annotations

import asyncio
import random as random_module
import time
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id as make_id
from waybill.messaging.reading.reader import SourceReader
from waybill.messaging.reading.settings import LogSettings, SourceSpec
from waybill.messaging.reading.subscription import OutboxSubscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database
    from waybill.messaging.reading.ports import PositionStore, Source

_RANDOM = random_module.SystemRandom()


class Doorbell(Protocol):
    """Rings when a producer of this process has committed messages (protocol D7)."""

    def attach(self, listener: SourceReader) -> None:
        """Tell this one at every ring from now on."""

    def forget(self, listener: SourceReader) -> None:
        """No longer."""


class OutboxLog(ABC):
    """See core.ports.Log.

    `database` is the consumer's own; `sources` are the outboxes by the name of their service;
    `doorbells` are those of the services that run in this process.
    """

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, SourceSpec],
        *,
        settings: LogSettings | None = None,
        doorbells: Mapping[str, Doorbell] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _RANDOM.random,
        new_id: Callable[[], UUID] = make_id,
    ) -> None:
        self._database = database
        self._sources = dict(sources)
        self._settings = settings or LogSettings()
        # Kept, not copied: the services of this process may add theirs until the subscription.
        self._doorbells = {} if doorbells is None else doorbells
        self._monotonic = monotonic
        self._random = random
        self._new_id = new_id

    async def subscribe(self, consumer: str, topics: Sequence[str]) -> OutboxSubscription:
        """See Log.subscribe. Waits as a stand-by; a source that is down is not waited for.

        Raises ConfigurationError: a topic without a configured source (D8), a replica, a position
        below the horizon (D4). TransientError: the consumer's own database is down.
        """
        subscription = self._subscription(consumer, self.topics_by_source(topics))
        try:
            await subscription.stand_by()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    def topics_by_source(self, topics: Iterable[str]) -> dict[str, frozenset[str]]:
        """Where each topic is read. Raises ConfigurationError for one without a source (D8)."""
        topics = frozenset(topics)
        found = {
            name: wanted
            for name, spec in self._sources.items()
            if (wanted := spec.topics.intersection(topics)) and spec.url
        }
        missing = set(topics).difference(*found.values())
        if missing or not topics:
            raise ConfigurationError(
                f"no source is configured for {', '.join(sorted(missing)) or 'no topic at all'}: "
                "give the read URL of the service that publishes it, as its reader role; "
                "for services that this process cannot reach, set KAFKA_BROKERS"
            )
        return found

    @abstractmethod
    def _open_source(
        self, name: str, url: str, application_name: str, settings: LogSettings
    ) -> Source:
        """Of this technology; it connects later."""

    @abstractmethod
    def _open_store(
        self, database: Database, consumer: str, sources: Sequence[str]
    ) -> PositionStore:
        """In the consumer's own database."""

    def _subscription(
        self, consumer: str, wanted: Mapping[str, frozenset[str]]
    ) -> OutboxSubscription:
        wake = asyncio.Event()
        store = self._open_store(self._database, consumer, list(wanted))
        readers = [
            SourceReader(
                self._open_source(
                    name, self._sources[name].url, f"waybill {consumer}", self._settings
                ),
                store,
                consumer=consumer,
                topics=topics,
                settings=self._settings,
                wake=wake,
                monotonic=self._monotonic,
                random=self._random,
            )
            for name, topics in wanted.items()
        ]
        subscription = OutboxSubscription(
            consumer,
            readers,
            store,
            settings=self._settings,
            wake=wake,
            monotonic=self._monotonic,
            new_id=self._new_id,
        )
        for reader in readers:
            bell = self._doorbells.get(reader.name)
            if bell is not None:
                bell.attach(reader)
                subscription.at_close(partial(bell.forget, reader))
        return subscription
