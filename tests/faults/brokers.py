"""The broker of a platform under faults: it goes away, or its connections are cut."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import wait_for
from tests.faults.produce_proxy import ProduceProxy
from tests.kafka.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.produce_proxy import Where
    from tests.faults.site import Site
    from tests.kafka.broker import Broker

FELT_RECORDS = 12
FELT_SECONDS = 30.0
CUT_SECONDS = 0.5
"""Until one of the producers is there again to be cut off: their clients wait before they are."""

UNSENT = """
SELECT count(*) FROM messaging.outbox_lane AS l
JOIN messaging.outbox AS o ON o.lane = l.lane AND o.seq > l.position
"""


@dataclass(frozen=True)
class Kafka:
    """A broker, which services reach through a proxy only."""

    broker: Broker
    proxy: ProduceProxy
    admin: AdminClient
    """An operator's client; what it was asked for ends with it, so there is one."""

    @property
    def address(self) -> str:
        """What KAFKA_BROKERS says."""
        return f"127.0.0.1:{self.proxy.port}"


@contextmanager
def running_kafka(directory: Path) -> Iterator[Kafka]:
    """A broker that is up, and advertises its proxy."""
    with ProduceProxy() as proxy:
        advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"}
        with running_broker(directory, settings=advertised) as broker:
            proxy.target = broker.listeners.ports["PLAINTEXT"]
            admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
            yield Kafka(broker, proxy, admin)


def stopped(site: Site, seconds: float) -> float:
    """The broker ends in order and stays away so long; orders are taken meanwhile."""
    leaver = "notification"
    with away(site, seconds, leaver=leaver):
        site.broker.broker.stop()
    healed = time.monotonic()
    site.come_back(leaver)
    return healed


def killed(site: Site) -> None:
    """SIGKILL under load, and a start on the same data."""
    with away(site, 0):
        site.broker.broker.kill()


@contextmanager
def away(site: Site, seconds: float, *, leaver: str = "") -> Iterator[None]:
    """End the broker in the block: every order is taken, nothing is sent, a service can stop.

    Then the broker is back, and the service is not.
    """
    began = time.monotonic()
    try:
        with site.customers.all_let_in():
            site.broker.proxy.refuse()
            yield
            before = unsent(site)
            what = "records wait in the outbox"
            wait_for(lambda: unsent(site) >= before + FELT_RECORDS, FELT_SECONDS, what)
            if leaver:
                assert site.services[leaver].stop() == 0, "P11: within 20 s, broker or not"
            time.sleep(max(0.0, began + seconds - time.monotonic()))  # how long it lasts
        assert unsent(site) >= before + FELT_RECORDS, "nothing was sent"
    finally:
        site.broker.proxy.listen()
        site.broker.broker.start()


def unsent(site: Site) -> int:
    """Records of the orders' outbox that Kafka has not acknowledged."""
    return int(site.value("order", UNSENT))


def cut(site: Site, where: Where, wanted: int) -> None:
    """Connections of producers are cut, at their request or at the broker's answer."""
    cuts = site.broker.proxy.cut(where, wanted)
    seconds = FELT_SECONDS * 2 + wanted * CUT_SECONDS
    wait_for(lambda: cuts.made >= wanted, seconds, f"{wanted} producers are cut off")
