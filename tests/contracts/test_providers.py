"""Consumer-driven contracts, the providers' side: the running platform keeps them (R254)."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pact import Verifier
from tests.acceptance.database import rows
from tests.acceptance.processes import KEYBOARD, wait_for
from tests.contracts.needs import CONTRACTS, SHOP, WAREHOUSE, events_of, order_body, pairs

from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.core.outbox_row import to_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pact.types import Message
    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

    from waybill.messaging.core.message import Message as Sent

pytestmark = [
    pytest.mark.acceptance,
    # Pact leaves the sockets of its own small servers to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket"),
]

PAYMENT_SECONDS = "0.3"
TOO_MANY = 10_000
ORDERS_MAX = 60
PUBLISHED = """
SELECT DISTINCT ON (type)
       lane, seq, id, topic, type, aggregateid, version, aggregatetype, aggregate_version,
       correlation_id, causation_id, traceparent, producer, occurred_at, headers, payload
FROM messaging.outbox WHERE topic NOT LIKE '%.DLT' ORDER BY type, seq DESC
"""
OFFSETS = {"order-service": 1, "inventory-service": 3}


@pytest.fixture(scope="module")
def provider(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """A platform that has published every event there is: its payments take a while."""
    environment = {
        "WAYBILL_PAYMENT_DELAY_SECONDS": PAYMENT_SECONDS,
        "PAYMENT_SIMULATE_SUCCESSRATE": "0.5",
    }
    with new_platform(**environment) as platform:
        platform.start().raise_stock()
        platform.place(secrets.token_hex(8), quantity=TOO_MANY, product=KEYBOARD)
        platform.raise_stock(stock=TOO_MANY - 1)
        platform.place(secrets.token_hex(8), quantity=TOO_MANY)
        wanted = {event for contract in pairs() for event in events_of(*contract)[1]}
        for _ in range(ORDERS_MAX):
            place_and_cancel(platform)
            if wanted <= set(published(platform)):
                break
        wait_for(lambda: wanted <= set(published(platform)), 30, "every event published")
        yield platform


def place_and_cancel(platform: PlatformProcess) -> None:
    """One order that goes its way, and one that is cancelled while its payment is under way."""
    platform.place(secrets.token_hex(8))
    order_id = platform.place(secrets.token_hex(8)).json()["id"]
    reserved = partial(is_past, platform, order_id)
    wait_for(reserved, 30, "stock reserved")
    platform.client.post(f"{platform.url(1)}/api/orders/{order_id}/cancel")


def is_past(platform: PlatformProcess, order_id: str) -> bool:
    """Whether its stock was decided on."""
    return bool(platform.order(order_id)["status"] != "PENDING")


def published(
    platform: PlatformProcess, services: Sequence[str] = ("order", "inventory", "payment")
) -> dict[str, Message]:
    """The last record of each event that the services published, as it travels."""
    found: dict[str, Message] = {}
    for service in services:
        for row in rows(platform.data, service, PUBLISHED):
            message = to_record(service, row.values()).message
            found[message.type] = travelling(message)
    return found


def travelling(message: Sent) -> Message:
    """A message as a record has it, in Pact's terms."""
    pairs = to_headers(message)
    headers = {name: value.decode() for name, value in pairs if isinstance(value, bytes)}
    return {
        "contents": message.value,
        "content_type": "application/json",
        "metadata": {"topic": message.topic, "key": message.key, **headers},
    }


def handed(platform: PlatformProcess) -> dict[str, Message | bytes | Callable[..., Message]]:
    """The same as Pact takes it."""
    return dict(published(platform).items())


@pytest.mark.parametrize(("consumer", "provider_name"), list(pairs()))
def test_published_events_hold_what_consumers_need(
    provider: PlatformProcess, consumer: str, provider_name: str
) -> None:
    """The real records of a running platform, each against the contract of each consumer."""
    verifier = Verifier(provider_name).message_handler(handed(provider))
    verifier.add_source(CONTRACTS / f"{consumer}-{provider_name}.json").verify()


@pytest.mark.parametrize(
    ("consumer", "provider_name"), [(SHOP, "order-service"), (WAREHOUSE, "inventory-service")]
)
def test_answers_hold_what_clients_need(
    provider: PlatformProcess, consumer: str, provider_name: str
) -> None:
    """The HTTP interfaces, each request of the contract sent to the running service."""

    def prepare(state: str, parameters: dict[str, Any] | None) -> None:
        if state == "an order has the key":
            headers = {"Idempotency-Key": str((parameters or {})["key"])}
            url = f"{provider.url(1)}/api/orders"
            answer = provider.client.post(url, json=order_body(), headers=headers)
            assert answer.status_code in {200, 201}

    verifier = Verifier(provider_name, host="127.0.0.1")
    verifier.add_transport(url=provider.url(OFFSETS[provider_name]))
    verifier.state_handler(prepare, teardown=False)
    verifier.add_source(CONTRACTS / f"{consumer}-{provider_name}.json").verify()
