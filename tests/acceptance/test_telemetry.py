"""One trace over all four services, and log lines that can be found by it."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.collector import Collector
from tests.acceptance.processes import CUSTOMER, MOUSE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.collector import CollectedSpan
    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

SERVICES = {"order-service", "inventory-service", "payment-service", "notification-service"}
MAIL = "[EMAIL] Sending confirmation email for order "


class Traced:
    """One order placed inside a caller's trace, followed to its end."""

    def __init__(self, platform: PlatformProcess, collector: Collector) -> None:
        self.trace_id = secrets.token_hex(16)
        self.caller_id = secrets.token_hex(8)
        answer = platform.client.post(
            f"{platform.url(1)}/api/orders",
            json={
                "customerId": CUSTOMER,
                "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": 5}],
            },
            headers={
                "Idempotency-Key": secrets.token_hex(8),
                "traceparent": f"00-{self.trace_id}-{self.caller_id}-01",
            },
        )
        assert answer.status_code == 201
        self.response = answer.headers["traceresponse"]
        self.order_id: str = answer.json()["id"]
        assert platform.ended(self.order_id)["status"] == "CONFIRMED"
        wait_for(lambda: self.lines(platform, MAIL + self.order_id), 30, "the customer is told")
        assert platform.stop() == 0  # what waits is sent at the end
        self.spans = [span for span in collector.spans if span.trace_id == self.trace_id]

    def lines(self, platform: PlatformProcess, message: str) -> list[dict[str, Any]]:
        """The log's lines with this message."""
        found = map(json.loads, platform.log.read_text().splitlines())
        return [line for line in found if line["message"] == message]

    def named(self, name: str) -> list[CollectedSpan]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture(scope="module")
def platform(new_platform: NewPlatform) -> Iterator[tuple[PlatformProcess, Traced]]:
    """A platform that sent its traces to a collector, and the order that it was asked for."""
    with (
        Collector() as collector,
        new_platform(
            PAYMENT_SIMULATE_FORCEOUTCOME="success",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as platform,
    ):
        yield platform, Traced(platform.start(), collector)


def test_one_trace_spans_all_four_services(platform: tuple[PlatformProcess, Traced]) -> None:
    """Defect D20, R231: the context goes with the events, each service under its own name."""
    _, traced = platform
    assert {span.service for span in traced.spans} == SERVICES
    processed = {(span.service, span.name) for span in traced.spans}
    assert {
        ("inventory-service", "process order-events"),
        ("payment-service", "process inventory-events"),
        ("order-service", "process payment-events"),
        ("notification-service", "process order-events"),
        ("payment-service", "call charge"),
        ("notification-service", "call email"),
    } <= processed


def test_the_callers_trace_is_continued(platform: tuple[PlatformProcess, Traced]) -> None:
    """Conventions 1.2: the request's span is the caller's child, and the whole is one tree."""
    _, traced = platform
    ids = {span.span_id for span in traced.spans}
    roots = [span for span in traced.spans if span.parent_id not in ids]
    assert [(span.service, span.parent_id) for span in roots] == [
        ("order-service", traced.caller_id)
    ]
    assert traced.response.split("-")[1] == traced.trace_id


def test_log_lines_carry_correlation_and_trace(platform: tuple[PlatformProcess, Traced]) -> None:
    """The order's id and its trace are on the line of another service's call."""
    running, traced = platform
    (line,) = traced.lines(running, MAIL + traced.order_id)
    assert line["service"] == "notification-service"
    assert line["correlation_id"] == traced.order_id
    assert line["trace_id"] == traced.trace_id
    assert {"timestamp", "level", "logger"} <= set(line)
