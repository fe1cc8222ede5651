"""Faults of topics and groups: one is missing, records are refused, offsets are gone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tests.acceptance.processes import OFFSETS, wait_for
from tests.acceptance.test_poison import GARBAGE, POISON
from tests.faults import brokers
from tests.faults.brokers import FELT_RECORDS, FELT_SECONDS, unsent
from tests.faults.databases import go_all_their_way
from tests.faults.owners import duplicates
from tests.faults.site import END_SECONDS

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.site import Site

ORDERS = "order-events"
READERS = ("inventory", "notification")
"""They act on what the poison claims to be."""
HUGE = b'{"huge": "' + b"x" * 2_000_000 + b'"}'
"""More than any topic of ours takes."""

HELD = "SELECT state FROM messaging.outbox_held ORDER BY held_at DESC LIMIT 1"
HELD_ID = "SELECT id FROM messaging.outbox_held WHERE state = 'HELD'"
LETTERS = "SELECT count(*) FROM messaging.dead_letters WHERE verdict = 'OPEN'"
DISCARD = """
UPDATE messaging.dead_letters SET verdict = 'DISCARDED', verdict_by = 'a test',
       verdict_reason = 'garbage', verdict_at = clock_timestamp() WHERE verdict = 'OPEN'
"""
REPEATS_MAX = 0
"""Of messages that were read before the consumer was stopped in order."""
FORGET = "UPDATE messaging.consumer_partition SET position = NULL, log = NULL"
TAKEN = "SELECT count(*) FROM messaging.inbox"


def missing(site: Site) -> None:
    """The orders' topic is deleted while nobody needs what it holds, and made again later.

    What is unread in a topic that somebody deletes is gone; `waybill relay rewind` sends it again.
    """
    if not led_again(site):  # a topic that is made anew begins at leader epoch 0
        brokers.killed(site)
    site.customers.pause()
    site.customers.settle_unknown()
    wait_for(site.all_ended, END_SECONDS, "all orders terminal")
    site.assert_clean()  # nothing is under way
    site.has_all_topics = False
    done(site.broker.admin.delete_topics([ORDERS]).values())
    # The broker acknowledges writes to it for a moment more.
    wait_for(lambda: not is_there(site, ORDERS), FELT_SECONDS, "the topic is gone")
    site.customers.resume()
    try:
        wait_for(lambda: unsent(site) >= FELT_RECORDS, FELT_SECONDS, "records wait in the outbox")
    finally:
        topic = NewTopic(ORDERS, num_partitions=6, replication_factor=1)
        done(site.broker.admin.create_topics([topic]).values())


def led_again(site: Site) -> bool:
    """Whether the broker was started anew since the topic was made, as every client noticed."""
    asked = {TopicPartition(ORDERS, 0): OffsetSpec.latest()}  # type: ignore[no-untyped-call]  # its gap
    (found,) = site.broker.admin.list_offsets(asked).values()
    return bool(found.result(timeout=20).leader_epoch)


def is_there(site: Site, topic: str) -> bool:
    """Whether the broker lists it."""
    return topic in site.broker.admin.list_topics(timeout=10).topics


def too_large(site: Site) -> None:
    """A record that no broker takes is held; the records of all other keys go on."""
    key = str(new_id())
    site.value("order", POISON, new_id(), key, lane_of(key), HUGE)
    wait_for(lambda: site.value("order", HELD) == "HELD", FELT_SECONDS, "the record is held")
    go_all_their_way(site, FELT_RECORDS)
    assert site.value("order", HELD) == "HELD", "it waits for an operator"
    judge(site, "order", "skip", why="too large for Kafka")
    wait_for(lambda: site.value("order", HELD) == "SKIPPED", FELT_SECONDS, "it is skipped")


def judge(site: Site, service: str, verdict: str, *, why: str) -> None:
    """An operator's word about the record that this service holds, by the command line."""
    held = str(site.value(service, HELD_ID))
    done = site.order.run("outbox", "held", verdict, held, "--why", why)
    assert done.returncode == 0, done.stderr
    assert held in done.stdout


def dead_letters_refused(site: Site) -> None:
    """The dead-letter topic takes nothing; the letter is in its table, and all others go on."""
    limit_bytes(site, f"{ORDERS}.DLT", 10)
    key = str(new_id())
    site.value("order", POISON, new_id(), key, lane_of(key), GARBAGE)
    for service in READERS:
        what = f"a dead letter of {service}"
        wait_for(partial(site.value, service, LETTERS), FELT_SECONDS, what)
        wait_for(partial(site.value, service, HELD), FELT_SECONDS, f"{what} is refused")
    go_all_their_way(site, FELT_RECORDS)
    limit_bytes(site, f"{ORDERS}.DLT", 1_000_000)
    for service in READERS:
        judge(site, service, "resume", why="max.message.bytes is 1 MB again")
        what = f"the dead letter of {service} is sent"
        wait_for(lambda: not site.value(service, HELD), FELT_SECONDS, what)  # noqa: B023 - this one
        site.rows(service, DISCARD)


def offsets_deleted(site: Site, service: str, *, positions: bool) -> None:
    """The group forgets what it read while its consumer is stopped.

    Its database knows, so nothing comes again; with `positions` it forgets, too: everything does.
    """
    process, group = site.services[service], f"{service}-service"
    assert process.stop() == 0
    if positions:
        site.rows(service, FORGET)
    known = site.value(service, TAKEN)
    wait_for(partial(is_deleted, site, group), FELT_SECONDS, f"the offsets of {group} are deleted")
    process.start()
    site.accept(FELT_RECORDS)
    if positions:
        what = f"{known} messages come again to {service}"
        wait_for(lambda: duplicates(site, service) >= known, END_SECONDS, what)
    wait_for(lambda: committed(site, group) > 0, FELT_SECONDS, f"{group} commits again")
    if not positions:
        assert known > REPEATS_MAX
        assert duplicates(site, service) <= REPEATS_MAX, "the positions stand"


def all_delivered_again(site: Site) -> None:
    """Every topic from its start, to every consumer."""
    for service in OFFSETS:
        offsets_deleted(site, service, positions=True)


def is_deleted(site: Site, group: str) -> bool:
    """Delete the group; false while a member that was stopped still counts."""
    try:
        done(site.broker.admin.delete_consumer_groups([group]).values())
    except KafkaException:
        return False
    return True


def committed(site: Site, group: str) -> int:
    """How many partitions the group has an offset of.

    Asked as one of the group: an AdminClient that asks ends the process (librdkafka 2.16).
    """
    bootstrap = site.broker.broker.bootstrap
    asking = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    try:
        found = asking.list_topics(timeout=20).topics.values()
        places = [
            TopicPartition(each.topic, number) for each in found for number in each.partitions
        ]
        return sum(each.offset >= 0 for each in asking.committed(places, timeout=20))
    finally:
        asking.close()


def limit_bytes(site: Site, topic: str, count: int) -> None:
    """Records of this topic may be so large."""
    entry = ConfigEntry(
        "max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    done(site.broker.admin.incremental_alter_configs([resource]).values())


def done(futures: Iterable[object]) -> None:
    """Wait for what an operator asked for. Raises KafkaException."""
    for future in futures:
        future.result(timeout=20)  # type: ignore[attr-defined] # the client's own futures
