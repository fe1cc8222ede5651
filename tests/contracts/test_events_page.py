"""docs/events.md says of every event what the code writes and reads."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from waybill.blueprints import choreography
from waybill.blueprints.foreign import read_foreign
from waybill.commerce.contracts import EVENTS, Event, StockReserved
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.core.message import ForeignRecord, Message

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text()
EXAMPLE = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading this is."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def documented_members() -> dict[str, list[str]]:
    """Members beside the order's id by event; an optional one ends in a question mark."""
    found = {}
    for names, members, *_ in rows_of("event"):
        for name in names.split(", "):
            found[name] = re.findall(r"`(\w+)`(\??)", members)
    return {name: ["".join(pair) for pair in pairs] for name, pairs in found.items()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_the_members_of_every_event_are_documented(event: type[Event]) -> None:
    """With those that may be missing marked so."""
    fields = [field for field in msgspec.structs.fields(event) if field.name != "order_id"]
    written = [field.encode_name + ("" if field.required else "?") for field in fields]
    assert sorted(documented_members()[event.__name__]) == sorted(written)


def test_topics_and_readers_are_documented() -> None:
    """As the blueprint has them."""
    topic = writer = ""
    for cells in rows_of("topic"):
        topic, writer = cells[0].strip("`") or topic, cells[1] or writer
        assert choreography.SERVICES[writer].publishes == (topic,)
        for name in cells[2].split(", "):
            readers = {
                service.name.removesuffix("-service")
                for service in choreography.SERVICES.values()
                if name in {event.__name__ for event in service.acts_on.get(topic, ())}
            }
            assert set(cells[3].split(", ")) == readers, name
    documented = {name for row in rows_of("topic") for name in row[2].split(", ")}
    assert documented == {event.__name__ for event in EVENTS}


def test_the_example_is_a_record_that_we_read() -> None:
    """Without a header, as a stranger may send it."""
    record = ForeignRecord(
        topic=choreography.INVENTORY_EVENTS,
        partition=0,
        offset=0,
        key=json.loads(EXAMPLE)["payload"]["orderId"],
        value=EXAMPLE.encode(),
        headers={},
        timestamp=datetime(2026, 11, 21, tzinfo=UTC),
    )
    assert isinstance(choreography.codec().decode(read_foreign(record)), StockReserved)


def test_every_header_is_documented() -> None:
    """A record with all that a record can have."""
    message = Message(
        id=UUID(int=1),
        topic="order-events",
        type="OrderCreated",
        key="k",
        value=b"{}",
        occurred_at=datetime(2026, 11, 21, tzinfo=UTC),
        aggregate_type="Order",
        aggregate_version=1,
        correlation_id="c",
        causation_id=UUID(int=2),
        traceparent="t",
        producer="order-service",
    )
    assert {name for name, _ in to_headers(message)} <= set(re.findall(r"`([\w-]+)`", PAGE))
