"""Strangers' records that no reader can apply, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from confluent_kafka import Producer
from tests.kafka.reading import read

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.acceptance.processes import PlatformProcess


VALUE = b'{"data": {"this is": "no event'


def whole(kind: str, producer: str) -> dict[str, bytes]:
    """Headers with all that a record of ours has, under the name of one of our services.

    So late that no retention excuses it from an audit.
    """
    event_id = str(new_id()).encode()
    return {
        "eventId": event_id,
        "eventType": kind.encode(),
        "producer": producer.encode(),
        "ce_specversion": b"1.0",
        "ce_id": event_id,
        "ce_type": kind.encode(),
        "ce_source": f"/{producer}".encode(),
        "ce_time": b"2100-01-01T00:00:00Z",
        "aggregateType": b"Order",
        "aggregateVersion": b"1",
    }


def poison_is_a_dead_letter(
    bootstrap: str, topic: str, kind: str, consumers: Collection[str], *, suffix: str = ".dlq"
) -> None:
    """Each consumer's records in `<topic>.dlq`: key, value and headers as they were, and why.

    One with some headers of ours, one with all of them, and one whose versions are none.
    """
    some = {"eventId": str(new_id()).encode(), "eventType": kind.encode()}
    each_given = {
        str(new_id()): {**some, "correlationId": b"poisoned-4711", "x-of-a-stranger": b"\x00\xff"},
        str(new_id()): whole(kind, "order-service"),
        str(new_id()): {
            **whole(kind, "order-service"),
            "eventVersion": b"newest",
            "aggregateVersion": b"9" * 30,
        },
    }
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for key, given in each_given.items():
        producer.produce(topic, VALUE, key=key, headers=list(given.items()))
    assert producer.flush(20) == 0
    found = asyncio.run(read(bootstrap, f"{topic}{suffix}", len(consumers) * len(each_given)))
    told = {
        (each.key, each.headers["kafka_dlt-original-consumer-group"].decode()) for each in found
    }
    assert told == {(key, consumer) for key in each_given for consumer in consumers}
    for each in found:
        given = each_given[each.key]
        assert each.value == VALUE
        given.pop("aggregateVersion", None)  # a dead letter's record repeats one, it is no version
        assert {name: each.headers.get(name) for name in given} == given
        assert each.headers["kafka_dlt-original-topic"] == topic.encode()
        error = each.headers["kafka_dlt-exception-fqcn"].decode().rpartition(".")[2]
        assert error in {"UndecodableMessageError", "DecodeError"}
        assert each.headers["kafka_dlt-exception-message"]


def audit_follows_the_verdicts(platform: PlatformProcess, bootstrap: str, topic: str) -> None:
    """Clean while poison waits and once it is discarded; what nobody's letter tells of is found."""
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    letters = platform.run("dead-letters", "list", "--json").stdout.splitlines()
    by_consumer: dict[str, list[str]] = {}
    for letter in map(json.loads, letters):
        by_consumer.setdefault(letter["consumer"], []).append(letter["message_id"])
    for consumer, ids in by_consumer.items():
        verdict = platform.run("dead-letters", "discard", consumer, *ids, "--why", "a stranger's")
        assert verdict.returncode == 0, verdict.stderr
    report = platform.run("audit", "--settle", "60")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "I16   Q     clean" in report.stdout
    assert "I17   Q     clean" in report.stdout
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    ghost = whole("of-no-interest", "order-service")
    producer.produce(topic, VALUE, key=str(new_id()), headers=list(ghost.items()))
    assert producer.flush(20) == 0
    report = platform.run("audit", "--settle", "60", "--json")
    found = {rule["id"]: rule["rows"] for rule in json.loads(report.stdout)["rules"]}
    assert report.returncode == 1
    assert {id_ for id_, rows in found.items() if rows} == {"I17"}
    (only,) = found["I17"]
    assert only["row"]["message_id"] == ghost["ce_id"].decode()
