"""Faults of a service's process: paused past its lease, its clock jumped, its reading repeated."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.kafka import machine
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base, wait_for
from tests.faults.storms import JOINED_SECONDS, Shares

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.messaging.adapters.postgres.connection import PostgresDatabase, PostgresSettings
from waybill.messaging.adapters.postgres.consumer_places import PLACES
from waybill.operations.audit.scope import DATABASES, scope_of
from waybill.platform.provisioning import urls_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from tests.faults.site import Site

TAKEN_OVER_SECONDS = 25.0
"""A lease or a session, and the 8 s after which PostgreSQL ends a transaction that idles."""
NOTICED_SECONDS = 30.0
EXPELLED = b"this member was taken for dead"
"""A consumer's warning, when its group has given its partitions to others."""
HOUR_SECONDS = 3600
FELT_SECONDS = 60

# Directly a lease of each source; on a log the owners of partitions, and of the relay's lanes.
HOLDERS = """
SELECT lease_token AS token FROM messaging.consumer_source WHERE lease_token IS NOT NULL
UNION SELECT token FROM messaging.consumer_partition
UNION SELECT token FROM messaging.outbox_lane WHERE token IS NOT NULL
"""
IDLE_IN_TRANSACTION = """
SELECT count(*) AS sessions FROM pg_stat_activity
WHERE state = 'idle in transaction' AND application_name = $1 AND pid <> pg_backend_pid()
"""


def paused(site: Site, service: str, *, in_transaction: bool = False) -> float:
    """SIGSTOP until a stand-by has its lanes and goes on with them; then it wakes up.

    `in_transaction`: it is caught between BEGIN and COMMIT, with the locks that it holds there.
    The instant at which it is woken: then it notices what it has lost.
    """
    owner = site.services[service]
    assert owner.process is not None
    own = all_of_it(site, service)
    with closing(owner.beside(service, port_base=free_port_base())) as other:
        other.start()
        site.accept(4)
        assert own <= holders(site, service), "it shares what it has, and keeps its part"
        told, lost = len(owner.log.read_bytes()), undone(site, service)
        if in_transaction:
            stop_in_transaction(site, service)
        else:
            owner.process.send_signal(signal.SIGSTOP)
        try:
            what = f"somebody else has the lanes of {service}"
            wait_for(lambda: not own & holders(site, service), TAKEN_OVER_SECONDS, what)
            if service != "order":  # it takes the orders, too: nobody is there to take them
                site.accept(4)
        finally:
            owner.process.send_signal(signal.SIGCONT)
            woken = time.monotonic()
        what = f"{service} notices what it has lost"
        wait_for(lambda: undone(site, service) > lost, NOTICED_SECONDS, what)
        if site.kafka:
            what = f"{service} notices that its group goes on without it"
            wait_for(lambda: EXPELLED in owner.log.read_bytes()[told:], NOTICED_SECONDS, what)
        site.accept(4)
        assert other.stop() == 0
    return woken


def all_of_it(site: Site, service: str) -> set[object]:
    """The tokens of this process once it has everything: sources, or partitions and lanes."""
    owner, shares = site.services[service], Shares(site, service)

    def has_all() -> bool:
        return shares.has_all(owner) if site.kafka else bool(holders(site, service))

    wait_for(has_all, JOINED_SECONDS, f"{service} has all sources, or partitions and lanes")
    return holders(site, service)


def undone(site: Site, service: str) -> float:
    """What this process knows that it has lost so far: a relay's lanes, or units of consumers.

    Directly a unit that was caught in its transaction is rolled back, as one without a lease is.
    """
    name = "relay_leases_lost_total" if site.kafka else "messaging_retries_total"
    return site.figure(service, name)


def holders(site: Site, service: str) -> set[object]:
    """The tokens with which this service's lanes and partitions are held now."""
    return {row["token"] for row in site.rows(service, HOLDERS)}


def stop_in_transaction(site: Site, service: str) -> None:
    """SIGSTOP at an instant at which one of its transactions is open, however long that takes."""
    process = site.services[service].process
    assert process is not None

    def caught() -> bool:
        process.send_signal(signal.SIGSTOP)
        (row,) = site.superuser(IDLE_IN_TRANSACTION, f"{service}-service")
        if row["sessions"]:
            return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_for(caught, 60, f"{service} is caught in a transaction")


def library() -> str:
    """libfaketime, installed if it is not there."""
    machine.program("faketime")
    (found,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return str(found)


class Jumping(PlatformProcess):
    """A service whose wall clock jumps when it is told to; its monotonic clock goes on."""

    def launch(self) -> Self:
        """See PlatformProcess."""
        self.jump(0)
        self.environment = {
            **self.environment,
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # Its "fix" stops threads that wait for Python's lock, for seconds at a time.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
        return super().launch()

    def jump(self, seconds: int) -> None:
        """From now on its clock is so far ahead of the machine's; negative: behind."""
        draft = self._offset.with_suffix(".new")
        draft.write_text(f"{seconds:+d}")
        draft.replace(self._offset)

    def is_ahead(self, seconds: int) -> bool:
        """Whether its answers tell a time so far ahead of the machine's."""
        answer = self.client.get(f"{self.url(OFFSETS[self.service])}/livez")
        told = parsedate_to_datetime(answer.headers["Date"])
        ahead = told - datetime.now(UTC)  # noqa: TID251 - the test's own clock
        return abs(ahead.total_seconds() - seconds) < FELT_SECONDS

    @property
    def _offset(self) -> Path:
        return self.data.parent / f"clock-of-{self.service}"


@contextmanager
def jumping(site: Site, service: str) -> Iterator[Jumping]:
    """While the block runs, this service runs with a clock that can jump."""
    usual = site.services[service]
    assert usual.stop() == 0
    jumper = Jumping(
        usual.data, port_base=usual.port_base, environment=usual.environment, service=service
    )
    site.services[service] = jumper
    try:
        yield jumper.start()
    finally:
        jumper.close()
        site.services[service] = usual.start()


def clock_jumps(site: Site, jumper: Jumping, orders: int) -> None:
    """An hour ahead, an hour behind, and right again, while orders come in."""
    for seconds in (HOUR_SECONDS, -HOUR_SECONDS, 0):
        jumper.jump(seconds)
        told = f"{jumper.service}'s clock is {seconds} s ahead"
        wait_for(partial(jumper.is_ahead, seconds), 20, told)
        site.accept(orders)


def delivered_again(site: Site) -> None:
    """Every topic, from its horizon, to every consumer while it runs; the inboxes know it all."""
    services = {route.consumer for route in scope_of(CHOREOGRAPHY, DATABASES).routes}
    before = {service: duplicates(site, service) for service in services}
    sent = asyncio.run(reset_all(site))
    for service in services:
        wait_for(
            lambda: duplicates(site, service) - before[service] >= sent[service],  # noqa: B023 - this one
            60,
            f"{service} was delivered {sent[service]} messages again",
        )


def duplicates(site: Site, service: str) -> float:
    """Messages that its inbox knew."""
    return site.figure(service, "inbox_processed_total", result="duplicate")


async def reset_all(site: Site) -> dict[str, int]:
    """Back to the horizon in every source; how many messages each consumer had taken by then."""
    sent = dict.fromkeys(OFFSETS, 0)
    scope = scope_of(CHOREOGRAPHY, DATABASES)
    for route in scope.routes:
        consuming = await PostgresDatabase.connect(
            urls_of(site.server, route.consumer).service, PostgresSettings(pool_max=1)
        )
        source = await PostgresDatabase.connect(
            urls_of(site.server, route.source).reader, PostgresSettings(pool_max=1)
        )
        try:
            if not sent[route.consumer]:
                (row,) = await consuming.fetch("SELECT count(*) FROM messaging.inbox")
                sent[route.consumer] = row[0]
            await PLACES.reset(
                consuming,
                source,
                consumer=scope.consumer_id(route.consumer),
                source_name=scope.consumer_id(route.source),
                to="horizon",
            )
        finally:
            await consuming.close()
            await source.close()
    return sent
