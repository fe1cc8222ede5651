"""Several processes a service on Kafka share the work, and one that dies leaves none undone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.acceptance.processes import OFFSETS, free_port_base, wait_for
from tests.faults.site import opened, recovered
from tests.faults.storms import Shares, pid_of
from tests.kafka.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.processes import PlatformProcess
    from tests.faults.site import Site

pytestmark = pytest.mark.acceptance

PARTITIONS = 6
CONCURRENCY = 2
"""Members of its group in each process (contracts 1.7)."""
MOVED_SECONDS = 15.0
"""After a SIGKILL: session time-out of the group, lease of the lanes, and a start."""
SHARED_SECONDS = 30.0
ORDERS = 20


class Groups:
    """Who reads what, as the brokers tell."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap})

    def shares(self, service: str) -> list[int]:
        """How many partitions each member of the service's group has, the largest share first."""
        group = f"{service}-service"
        future = self._client.describe_consumer_groups([group], request_timeout=10)[group]
        try:
            members = future.result(20).members
        except KafkaException:  # the group's coordinator is not there yet
            return []
        return sorted((len(member.assignment.topic_partitions) for member in members), reverse=True)

    def wait_shared(self, service: str, processes: int, seconds: float = SHARED_SECONDS) -> None:
        """Wait until the members of so many have all partitions of its topics, none idle."""
        members = processes * CONCURRENCY

        def shared() -> bool:
            shares = self.shares(service)
            return len(shares) == members and all(shares) and sum(shares) >= PARTITIONS

        wait_for(shared, seconds, f"{members} members of {service} share its topics")


@pytest.fixture(scope="module")
def bootstrap(session_directory: Path) -> Iterator[str]:
    """A broker of these tests alone: topics and groups have the platform's own names."""
    with running_broker(session_directory / "many") as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def groups(bootstrap: str) -> Groups:
    """Of that broker."""
    return Groups(bootstrap)


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path, bootstrap: str) -> Iterator[Site]:
    """Four services, one process each, of two members each; and customers."""
    directory = session_directory / "many-processes"
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    environment = {
        "KAFKA_BROKERS": bootstrap,
        "SPRING_KAFKA_LISTENER_CONCURRENCY": str(CONCURRENCY),
        # So none is forked: of commands that were, brokers were asked in vain now and then.
        "PYTHONFAULTHANDLER": "1",
    }
    with opened(directory / "data", port_base=free_port_base(), environment=environment) as made:
        yield made
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def another(site: Site, service: str) -> Iterator[PlatformProcess]:
    """One more process of a service."""
    process = site.services[service].beside(service, port_base=free_port_base())
    with closing(process):
        yield process.start()


@pytest.mark.long
def test_killed_members_leave_nothing_undone(site: Site, groups: Groups) -> None:
    """R018: two of each service share the work; 15 s after a kill -9 the other has all of it."""
    with site.ordering(), ExitStack() as stack:
        site.accept(ORDERS)
        seconds = {service: stack.enter_context(another(site, service)) for service in OFFSETS}
        for service in OFFSETS:
            groups.wait_shared(service, 2)
        site.accept(ORDERS)
        # Customers know one process of the order service: of that the other one dies.
        victims = {**seconds, **{name: site.services[name] for name in ("inventory", "payment")}}
        for service, victim in victims.items():
            has_work = partial(Shares(site, service).has_work, victim)
            wait_for(has_work, SHARED_SECONDS, "it has partitions and lanes")
            victim.kill_process()
            killed = time.monotonic()
            groups.wait_shared(service, 1, MOVED_SECONDS)
            left = max(0.1, killed + MOVED_SECONDS - time.monotonic())
            wait_for(partial(sends_nothing, site, service, victim), left, "its lanes are others'")
            site.accept(ORDERS)
            victim.start()
            groups.wait_shared(service, 2)
        assert seconds["order"].stop() == 0
        site.accept(ORDERS)
        groups.wait_shared("order", 1, MOVED_SECONDS)
    recovered(site, time.monotonic())


def sends_nothing(site: Site, service: str, dead: PlatformProcess) -> bool:
    """Whether every lane of the service is somebody else's."""
    return pid_of(dead) not in Shares(site, service).senders()


@pytest.mark.long
def test_orders_end_while_their_service_is_taken_over(site: Site, groups: Groups) -> None:
    """Work moves within 15 s of a SIGKILL: also what the dead one's relay had not sent."""
    with another(site, "inventory"), another(site, "payment"):
        groups.wait_shared("inventory", 2)
        groups.wait_shared("payment", 2)
        with site.ordering():
            site.accept(ORDERS)
        killed = time.monotonic()
        site.services["inventory"].kill_process()
        site.services["payment"].kill_process()
        ids = [site.order.place(f"moved-{n}").json()["id"] for n in range(12)]
        for order_id in ids:
            site.order.ended(order_id, max(1.0, killed + 2 * MOVED_SECONDS - time.monotonic()))
        took = time.monotonic() - killed
        site.services["inventory"].start()
        site.services["payment"].start()
        assert took < MOVED_SECONDS, took
    for service in OFFSETS:
        for loop in (f"{service}-service", f"{service}-service {CONCURRENCY}"):
            assert site.figure(service, "loop_halted", loop=loop) == 0
            assert site.figure(service, "loop_last_progress_age_seconds", loop=loop) < 10
    recovered(site, time.monotonic())
    told_by_the_brokers(site)


def told_by_the_brokers(site: Site) -> None:
    """What an operator asks of Kafka: topics, consumers' places, records, and the audit of both."""
    topics = {row["topic"]: row for row in asked(site, "topics", "list", "--json")}
    assert topics["order-events"]["partitions"] == PARTITIONS
    assert topics["order-events"]["records"] > ORDERS
    assert topics["payment-events.DLT"]["records"] == 0
    rows = wait_for(partial(all_read, site), SHARED_SECONDS, "everything is read")
    read = sum(row["position"] or 0 for row in rows if row["consumer"] == "notification-service")
    assert read == topics["order-events"]["records"]
    assert {row["members"] for row in rows} == {CONCURRENCY}
    refused = site.order.run("consumers", "reset", "notification-service", "order-service")
    assert refused.returncode == 1
    assert "kafka-consumer-groups" in refused.stderr
    (record,) = asked(site, "topics", "read", "payment-events", "--limit", "1", "--json")
    assert record["type"] in {"PaymentSucceeded", "PaymentFailed"}
    (report,) = asked(site, "audit", "--settle", "60", "--json")
    outcomes = {rule["id"]: rule["outcome"] for rule in report["rules"]}
    assert [outcomes[id_] for id_ in ("I16", "I17")] == ["clean", "clean"]


def all_read(site: Site) -> list[dict[str, Any]]:
    """The consumers' places, once none of them lags behind."""
    rows = asked(site, "consumers", "list", "--json", "--partitions")
    return rows if {row["lag"] for row in rows} == {0} else []


def asked(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """The JSON lines of a command."""
    answer = site.order.run(*arguments)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


@pytest.mark.long
def test_members_come_and_go_all_the_time(site: Site, groups: Groups) -> None:
    """Three of each, one of them killed or stopped all the time: nothing is lost or done twice."""
    with site.ordering(), ExitStack() as stack:
        for _ in range(2):
            for service in OFFSETS:
                stack.enter_context(another(site, service))
        for service in OFFSETS:
            groups.wait_shared(service, 3)
        for turn in range(3):
            for service in ("inventory", "payment", "notification"):
                victim = site.services[service]
                if turn % 2:
                    victim.kill_process()
                else:
                    assert victim.stop() == 0
                site.accept(ORDERS)
                victim.start()
    recovered(site, time.monotonic())
