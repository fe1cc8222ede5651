"""Seed 004 with the neighbours that its document names: Redis, and a mail server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from tests.acceptance.database import rows
from tests.acceptance.outside import (
    ADDRESS,
    INVENTORY,
    ORDER,
    Mailbox,
    asked,
    cache_health,
    contact,
    environment,
    told,
)
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.test_orchestration import bare, becomes, place, stock

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx2 import Response
    from tests.acceptance.conftest import NewPlatform
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.acceptance
SKU, MANY, CUSTOMERS = "SKU-123", 30, 4
OVERLOADED = 503
SENT = "SELECT order_id, kind FROM app.notifications WHERE status = 'SENT'"
LAST = "SELECT message_id, consumer FROM messaging.inbox ORDER BY processed_at DESC LIMIT 1"


@pytest.fixture(scope="module")
def platform(
    new_platform: NewPlatform, redis_server: RedisServer, mailbox: Mailbox
) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint on new data, that has both; payments succeed."""
    given = {"WAYBILL_BLUEPRINT": "orchestration", "PAYMENT_SIMULATE_FORCEOUTCOME": "success"}
    with new_platform(**given, **environment(redis_server, mailbox)) as platform:
        platform.start()
        stock(platform, SKU, 100_000)
        put = platform.client.put(contact(platform, "usr_001"), json={"email": ADDRESS})
        assert put.json()["userId"] == "usr_001"
        yield platform


def with_key(platform: PlatformProcess, key: str) -> Response:
    """POST an order under this key; again while the machine is too slow for a moment."""

    def admitted() -> Response | None:
        answer = place(platform, SKU, 1, **{"Idempotency-Key": key})
        return answer if answer.status_code != OVERLOADED else None

    return wait_for(admitted, 30, "an order is admitted")


def test_a_user_gets_a_mail_when_the_order_is_completed(
    platform: PlatformProcess, mailbox: Mailbox
) -> None:
    """R204: on OrderCompleted, to the contact of `userId`, with a Message-ID of its own."""
    order_id = with_key(platform, str(new_id())).json()["orderId"]
    becomes(platform, order_id, "CONFIRMED")
    bare_id = str(bare(order_id))
    assert told(platform, bare_id) == "SENT"
    assert mailbox.about(bare_id) == [(ADDRESS, f"<{bare_id}.OrderConfirmed@waybill>")]
    assert f"Your order {order_id}" in mailbox.subjects


def test_a_repeated_key_is_refused_out_of_the_cache(
    platform: PlatformProcess, redis_server: RedisServer
) -> None:
    """R115, C5: `idem:<key>` gives 409 with the first order; `dedupe:<eventId>` of each service."""
    key = str(new_id())
    order_id = with_key(platform, key).json()["orderId"]
    with Redis.from_url(redis_server.url) as redis:
        wait_for(lambda: redis.exists(f"idem:{key}") or None, 20, "the answer is in the cache")
        hits = asked(platform, ORDER, "hit")
        again = with_key(platform, key)
        assert (again.status_code, again.json()["orderId"]) == (409, order_id)
        assert asked(platform, ORDER, "hit") == hits + 1
        becomes(platform, order_id, "CONFIRMED")
        for service in ("payment", "inventory", "orchestrator"):
            (row,) = rows(platform.data, service, LAST)
            name = f"dedupe:{row['message_id']}:{row['consumer']}"
            wait_for(partial(redis.exists, name), 20, f"{service}'s {name}")


def test_a_sku_is_looked_up_once(platform: PlatformProcess, redis_server: RedisServer) -> None:
    """R117: the second look at the catalogue is answered out of the cache, and is the same."""
    url = f"{platform.url(INVENTORY)}/api/inventory/{SKU}"
    first = platform.client.get(url).json()
    hits = asked(platform, INVENTORY, "hit")
    assert platform.client.get(url).json() == first
    assert asked(platform, INVENTORY, "hit") == hits + 1
    with Redis.from_url(redis_server.url) as redis:
        assert list(redis.scan_iter("product:*"))


def test_a_killed_redis_costs_latency_only(
    platform: PlatformProcess, redis_server: RedisServer, mailbox: Mailbox
) -> None:
    """R255: orders go on, a key stays one order, and the books are clean; so is the mailbox."""
    with ThreadPoolExecutor(CUSTOMERS) as customers:

        def ordered(keys: list[str]) -> dict[str, str]:
            answers = list(customers.map(lambda key: with_key(platform, key), keys))
            assert {answer.status_code for answer in answers} == {202}
            return {
                key: answer.json()["orderId"] for key, answer in zip(keys, answers, strict=True)
            }

        def refused(orders: dict[str, str]) -> None:
            answers = list(customers.map(lambda key: with_key(platform, key), orders))
            found = [(answer.status_code, answer.json()["orderId"]) for answer in answers]
            assert found == [(409, order_id) for order_id in orders.values()]

        orders = ordered([str(new_id()) for _ in range(MANY)])
        running = customers.submit(ordered, [str(new_id()) for _ in range(MANY)])
        redis_server.kill()
        orders |= ordered([str(new_id()) for _ in range(MANY)]) | running.result()
        refused(orders)
        wait_for(lambda: cache_health(platform).startswith("away") or None, 20, "it is shown")
        redis_server.start()
        wait_for(lambda: cache_health(platform) == "answers" or None, 20, "it is found again")
        refused(orders)
    report = platform.run("audit", "--settle", "60")
    assert "audit: clean" in report.stdout, report.stdout + report.stderr
    sent = {
        f"<{row['order_id']}.{row['kind']}@waybill>"
        for row in rows(platform.data, "notification", SENT)
    }
    assert len(sent) > len(orders)
    assert sent == {message_id for _, message_id in mailbox.taken}
