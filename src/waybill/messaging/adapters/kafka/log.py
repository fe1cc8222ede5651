"""Kafka as the log: every consumer is a group, and its members share the partitions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waybill.messaging.adapters.kafka.assignment import Assignment
from waybill.messaging.adapters.kafka.group import consumer_properties
from waybill.messaging.adapters.kafka.poller import Poller
from waybill.messaging.adapters.kafka.subscription import KafkaSubscription
from waybill.messaging.adapters.kafka.topics import Topics
from waybill.messaging.core.identity import new_id as make_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from waybill.messaging.adapters.kafka.headers import ReadForeign
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.ports import PartitionPositions, Subscription

logger = logging.getLogger(__name__)


class KafkaLog:
    """See core.ports.Log. `read_foreign` understands records without headers of ours."""

    def __init__(
        self,
        settings: KafkaSettings,
        positions: PartitionPositions,
        *,
        read_foreign: ReadForeign | None = None,
        new_id: Callable[[], UUID] = make_id,
    ) -> None:
        self._settings = settings
        self._positions = positions
        self._read_foreign = read_foreign
        self._new_id = new_id
        self._topics = Topics(settings)
        self._protocol = settings.group_protocol

    async def subscribe(self, consumer: str, topics: Sequence[str]) -> Subscription:
        """See Log: joins the group `consumer`; partitions come when the group has agreed.

        Creates topics that are missing. Raises TransientError while no broker can be asked, and
        ConfigurationError if a topic has another number of partitions (protocol C11).
        """
        await self._topics.prepare(topics)
        if self._protocol == "auto":
            self._protocol = await self._topics.group_protocol()
            logger.info("groups of %s speak the protocol %s", consumer, self._protocol)
        assignment = Assignment()
        subscription = KafkaSubscription(
            consumer,
            self._positions,
            topics=self._topics,
            token=self._new_id(),
            assignment=assignment,
            poll_seconds=self._settings.poll_seconds,
            read_foreign=self._read_foreign,
        )
        properties = consumer_properties(self._settings, consumer, self._protocol)

        def poller(member: KafkaSubscription) -> Poller:
            return Poller(
                properties,
                topics,
                assignment,
                settings=self._settings,
                wake=member.wake,
                found=member.found,
            )

        subscription.run(poller)
        return subscription
