"""A platform whose outboxes Debezium carries to Kafka, and what may befall its connectors.

The services' server is their own, as it is everywhere; the connectors reach it through a port.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.acceptance.processes import free_port_base, wait_for
from tests.acceptance.proxy import CommitProxy
from tests.acceptance.stages import CHOREOGRAPHY
from tests.acceptance.test_poison import POISON
from tests.faults.brokers import FELT_RECORDS, running_kafka, unsent
from tests.faults.site import opened
from tests.faults.topics import HELD, HUGE, judge
from tests.kafka.connect import connect

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.provisioning import database_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.stages import Stage
    from tests.faults.site import Server, Site
    from tests.kafka.connect import Connect

SHIPPED = Path(__file__).parents[2] / "deploy" / "debezium"
PASSWORD = "cdc-secret"  # noqa: S105 - of a role of these tests alone
DECODED = {"wal_level": "logical", "max_slot_wal_keep_size": "1GB"}
CONNECTOR = "waybill-order-outbox"
FELT_SECONDS = 60.0
ALERT_SECONDS = 60.0
"""OutboxUnsent asks for an unsent message that is older (infra/prometheus/rules/kafka.yml)."""

BY_HAND = "UPDATE messaging.outbox_meta SET mode = 'relay' WHERE mode = 'cdc' RETURNING mode"
DROPPED = "SELECT pg_drop_replication_slot('waybill_order_outbox')"


@dataclass(frozen=True)
class Captured:
    """A site on Kafka without a relay that sends, and the worker with its connectors."""

    site: Site
    worker: Connect
    environment: dict[str, str]

    def start(self) -> None:
        """The worker, until every connector runs."""
        self.worker.start(self.environment)


@contextmanager
def captured(directory: Path, provisioned: Path, stage: Stage = CHOREOGRAPHY) -> Iterator[Captured]:
    """Everything as docs/library/cdc.md says, on fresh data: connectors first, then services."""
    data = directory / "data"
    stage.copy(provisioned, data)
    with ExitStack() as stack:
        kafka = stack.enter_context(running_kafka(directory / "kafka"))
        shipped = (SHIPPED / "worker.properties").read_text()
        worker = stack.enter_context(connect(directory / "connect", kafka.address, shipped))
        environment = {"PATH": os.environ["PATH"]}

        def prepare(server: Server) -> None:
            port = stack.enter_context(reachable(server))
            environment.update(
                OUTBOX_DATABASE_HOST="127.0.0.1",
                OUTBOX_DATABASE_PORT=str(port),
                OUTBOX_DATABASE_USER="waybill_cdc",
                OUTBOX_DATABASE_PASSWORD=PASSWORD,
            )
            for service in stage.offsets:
                publish(server, service)
                worker.add(json.loads((SHIPPED / f"{service}.json").read_text()))
            worker.start(environment)

        site = stack.enter_context(
            opened(
                data,
                port_base=free_port_base(),
                environment={
                    **stage.environment,
                    "KAFKA_BROKERS": kafka.address,
                    "WAYBILL_OUTBOX_MODE": "cdc",
                },
                kafka=kafka,
                server_settings=DECODED,
                before_services=prepare,
                stage=stage,
            )
        )
        yield Captured(site, worker, environment)


def publish(server: Server, service: str) -> None:
    """What an operator runs once in each database."""
    command = [
        *(str(installed_programs() / "psql"), "-q", "-v", "ON_ERROR_STOP=1"),
        *("-v", f"password={PASSWORD}", "-f", str(SHIPPED / "prepare.sql")),
        server.url(database_of(service)),
    ]
    subprocess.run(command, check=True, timeout=60)


@contextmanager
def reachable(server: Server) -> Iterator[int]:
    """A port of this machine that leads to the server's socket."""
    (directory,) = parse_qs(urlsplit(server.url()).query)["host"]
    proxy, loop = CommitProxy(Path(directory) / ".s.PGSQL.5432"), asyncio.new_event_loop()

    async def end() -> None:
        await proxy.stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(timeout=10)
    try:
        yield proxy.port
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def stopped(made: Captured, seconds: float) -> None:
    """The worker is killed with all its connectors, and comes back so much later."""
    site = made.site
    with site.customers.all_let_in():
        made.worker.kill()
        began, before = time.monotonic(), unsent(site)
        what = "records wait in the outbox"
        wait_for(lambda: unsent(site) >= before + FELT_RECORDS, FELT_SECONDS, what)
        time.sleep(max(0.0, began + seconds - time.monotonic()))  # how long it lasts is the fault
    assert unsent(site) >= before + FELT_RECORDS, "nobody else sends"
    made.start()


def refused(made: Captured) -> None:
    """Kafka refuses a record: the connector stops, an operator hands over to the relay."""
    site, key = made.site, str(new_id())
    site.value("order", POISON, new_id(), key, lane_of(key), HUGE)
    wait_for(lambda: made.worker.state(CONNECTOR) == "FAILED", FELT_SECONDS, "the connector fails")
    site.accept(FELT_RECORDS)
    what = "OutboxUnsent has its reason"
    wait_for(lambda: oldest_unsent(site) > ALERT_SECONDS, ALERT_SECONDS + FELT_SECONDS, what)
    assert unsent(site) > FELT_RECORDS, "nothing passed it"
    restarted(site, "relay", by_hand=True)
    wait_for(lambda: site.value("order", HELD) == "HELD", FELT_SECONDS, "the record is held")
    judge(site, "order", "skip", why="too large for Kafka")
    wait_for(lambda: site.value("order", HELD) == "SKIPPED", FELT_SECONDS, "it is skipped")


def given_back(made: Captured) -> None:
    """The connector begins anew, at the present, while the relay sends; then it takes over."""
    site = made.site
    made.worker.stop_connector(CONNECTOR)
    made.worker.forget_offsets(CONNECTOR)
    site.rows("order", DROPPED)
    made.worker.resume(CONNECTOR)
    running = "the connector runs again"
    wait_for(lambda: made.worker.state(CONNECTOR) == "RUNNING", FELT_SECONDS, running)
    wait_for(lambda: site.order.run("drain").returncode == 0, FELT_SECONDS, "drained")
    restarted(site, "cdc")


def restarted(site: Site, mode: str, *, by_hand: bool = False) -> None:
    """The order service goes on in this mode, which `by_hand` writes into its database."""
    assert site.order.stop() == 0
    if by_hand:
        assert site.value("order", BY_HAND) == "relay"
    site.order.environment = {**site.order.environment, "WAYBILL_OUTBOX_MODE": mode}
    site.order.start()


def oldest_unsent(site: Site) -> float:
    """What the order service tells of the oldest message that is not in Kafka."""
    return site.figure("order", "outbox_oldest_unsent_age_seconds")
