"""What a service of this platform shows of itself: which looks it takes, and at what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.database_url import is_mysql
from waybill.platform.sampling import (
    INSTANCE_SECONDS,
    SAMPLE_SECONDS,
    Backlog,
    GroupBacklog,
    Hosted,
    Instance,
    Sampler,
)
from waybill.platform.stores import stores_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from waybill.blueprints.definition import Service
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.runtime.brake import Measure
    from waybill.messaging.service import MessagingService
    from waybill.platform.metrics import ServiceMetrics


def show_figures(
    messaging: MessagingService,
    metrics: ServiceMetrics,
    *,
    owner_url: str,
    disks: Sequence[Measure],
    wiring: Service,
    hosts: Hosted | None,
    kafka: KafkaSettings | None,
) -> None:
    """Put every gauge of a service in its place. After its consumers and calls are registered.

    `hosts` is the process whose orders it brings to an end, if it does.
    """
    name, kinds = messaging.name, messaging.kinds
    consumers = [name] if wiring.acts_on else []
    metrics.expect(topics=wiring.publishes, consumers=consumers, deliveries=kinds)
    metrics.watch(lambda: messaging.supervisor)
    backlog = Backlog(
        messaging.ports.database,
        metrics,
        consumers=consumers,
        deliveries=kinds,
        hosts_process=hosts,
        storage=messaging.storage,
        stores=stores_of(owner_url),
    )

    async def look_at_disk() -> None:
        for disk in disks:
            metrics.set("disk_used_ratio", await disk.read())

    looks: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
        "backlog": (SAMPLE_SECONDS, backlog.look),
        "disk": (SAMPLE_SECONDS, look_at_disk),
    }
    if not is_mysql(owner_url):
        looks["instance"] = (INSTANCE_SECONDS, Instance(owner_url, metrics).look)
    if messaging.relay is not None:
        metrics.follow_relay(messaging.relay.figures)
    if kafka is not None and consumers:
        look = _group(kafka, messaging, metrics, sorted(wiring.acts_on))
        looks["kafka"] = (SAMPLE_SECONDS, look)
    messaging.add(Sampler(looks, metrics, messaging.ports))


def _group(
    kafka: KafkaSettings,
    messaging: MessagingService,
    metrics: ServiceMetrics,
    topics: Sequence[str],
) -> Callable[[], Awaitable[None]]:
    # Only platforms on Kafka load its client.
    from waybill.messaging.adapters.kafka.group_lag import GroupLag  # noqa: PLC0415

    positions = messaging.storage.partition_positions(messaging.ports.database)

    async def read() -> dict[tuple[str, int], int]:
        stored = await positions.stored(messaging.name)
        return {place: position.offset + 1 for place, position in stored.items()}

    lag = GroupLag(kafka, messaging.name, topics, messaging.ports.clock.monotonic, read=read)
    return GroupBacklog(lag, metrics, messaging.name).look
