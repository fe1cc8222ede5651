"""A platform with a mail server and a Redis beside it: both real, and both may go away."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest
from redis import Redis
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows
from tests.acceptance.outside import (
    ADDRESS,
    INVENTORY,
    NOTIFICATION,
    ORDER,
    Mailbox,
    asked,
    cache_health,
    contact,
    environment,
    told,
)
from tests.acceptance.processes import CUSTOMER, KEYBOARD, MOUSE, PlatformProcess, wait_for
from tests.acceptance.stages import CHOREOGRAPHY, LINES
from tests.acceptance.traffic import Traffic
from tests.observability.files import ROOT

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx2 import Response
    from tests.acceptance.conftest import NewPlatform
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.acceptance
ENOUGH = 40
"""Orders that count as load: each passes every place where the cache is asked or told."""
DAY_SECONDS = 86_400
OVERLOADED = 503
SENT = "SELECT order_id, kind FROM app.notifications WHERE status = 'SENT'"


@pytest.fixture(scope="module")
def platform(
    new_platform: NewPlatform, redis_server: RedisServer, mailbox: Mailbox
) -> Iterator[PlatformProcess]:
    """A running platform that has both; payments always succeed."""
    with new_platform(
        PAYMENT_SIMULATE_FORCEOUTCOME="success", **environment(redis_server, mailbox)
    ) as platform:
        platform.start()
        platform.raise_stock()
        yield platform


def test_a_customer_is_told_by_mail(platform: PlatformProcess, mailbox: Mailbox) -> None:
    """Where their contact says; without one the notification is FAILED and the order is not."""
    nobody = platform.place("mail-1").json()["id"]
    assert told(platform, nobody) == "FAILED"
    assert platform.ended(nobody)["status"] == "CONFIRMED"
    put = platform.client.put(contact(platform, CUSTOMER), json={"email": ADDRESS})
    assert (put.status_code, put.json()["email"]) == (200, ADDRESS)
    known = platform.place("mail-2").json()["id"]
    assert told(platform, known) == "SENT"
    assert mailbox.about(known) == [(ADDRESS, f"<{known}.OrderConfirmed@waybill>")]
    assert platform.client.delete(contact(platform, CUSTOMER)).status_code == 204
    assert platform.client.get(contact(platform, CUSTOMER)).status_code == 404
    again = platform.place("mail-3").json()["id"]
    assert told(platform, again) == "FAILED"
    assert not mailbox.about(nobody) + mailbox.about(again)


def test_a_mail_whose_answer_was_lost_has_the_same_message_id(
    platform: PlatformProcess, mailbox: Mailbox
) -> None:
    """P9, I44: it is sent again, and a mailbox can tell that it is the same."""
    platform.client.put(contact(platform, CUSTOMER.upper()), json={"email": ADDRESS})
    mailbox.break_off = 1
    order_id = platform.place("mail-4").json()["id"]
    assert told(platform, order_id) == "SENT"
    assert mailbox.about(order_id) == [(ADDRESS, f"<{order_id}.OrderConfirmed@waybill>")] * 2


def test_an_address_stands_in_one_table_only(platform: PlatformProcess, mailbox: Mailbox) -> None:
    """C38: not in an event, a delivery, the log or an error; the auditor cannot see it."""
    platform.client.put(contact(platform, CUSTOMER), json={"email": ADDRESS})
    order_id = platform.place("mail-5").json()["id"]
    assert told(platform, order_id) == "SENT"
    assert mailbox.about(order_id)
    refused = platform.client.put(contact(platform, CUSTOMER), json={"email": f"<{ADDRESS}>"})
    assert refused.status_code == 400
    assert ADDRESS not in refused.text
    held = {
        "order": "SELECT convert_from(payload, 'UTF8') || headers::text FROM messaging.outbox",
        "notification": "SELECT d::text || convert_from(d.request, 'UTF8') "
        "FROM messaging.deliveries d",
    }
    for service, statement in held.items():
        found = [str(row) for row in rows(platform.data, service, statement)]
        assert found
        assert not [each for each in found if ADDRESS in each]
    assert ADDRESS not in platform.log.read_text()


def test_the_cache_answers_what_was_answered(
    platform: PlatformProcess, redis_server: RedisServer
) -> None:
    """R115 to R117: the documented keys, for as long as documented, and the hits they give."""
    key, hits = str(new_id()), asked(platform, ORDER, "hit")
    first = platform.place(key)
    with Redis.from_url(redis_server.url) as redis:
        wait_for(lambda: redis.exists(f"idem:{key}") or None, 20, "the answer is in the cache")
        assert DAY_SECONDS - 60 < redis.ttl(f"idem:{key}") <= DAY_SECONDS
        again = platform.place(key)
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert asked(platform, ORDER, "hit") == hits + 1
        assert platform.place(key, quantity=2).status_code == 409
        platform.ended(first.json()["id"])
        for service in ("inventory", "payment"):
            claimed = "SELECT message_id FROM messaging.inbox ORDER BY processed_at DESC LIMIT 1"
            (row,) = rows(platform.data, service, claimed)
            name = f"dedupe:{row['message_id']}:{service}-service"
            wait_for(partial(redis.exists, name), 20, f"{service}'s {name}")


def test_the_page_names_what_the_cache_shows(platform: PlatformProcess) -> None:
    """docs/observability.md: the metrics of a cache, in every service that has one."""
    page = (ROOT / "docs" / "observability.md").read_text()
    documented = set(re.findall(r"^\| `(cache_\w+)`", page, re.MULTILINE))
    for service in (ORDER, INVENTORY, NOTIFICATION):
        text = platform.client.get(f"{platform.url(service)}/metrics").text
        assert set(re.findall(r"^(cache_\w+){", text, re.MULTILINE)) == documented


def test_a_product_is_looked_up_once(platform: PlatformProcess, redis_server: RedisServer) -> None:
    """R117: the second look reads no database: a row that was changed past us is not seen yet."""
    url = f"{platform.url(INVENTORY)}/api/products/{KEYBOARD}"
    name = platform.client.get(url).json()["name"]
    with Redis.from_url(redis_server.url) as redis:
        assert 0 < redis.ttl(f"product:{KEYBOARD}") <= 30
    rename = "UPDATE app.products SET name = $1 WHERE id = $2 RETURNING id"
    assert rows(platform.data, "inventory", rename, "Changed past us", KEYBOARD)
    assert platform.client.get(url).json()["name"] == name
    platform.client.put(url, json={"name": name, "stock": 1_000})
    assert platform.client.get(url).json()["name"] == name


def test_a_redis_killed_under_load_costs_latency_only(
    platform: PlatformProcess, redis_server: RedisServer, mailbox: Mailbox
) -> None:
    """SIGKILL, SIGSTOP and a Redis that comes back empty: no error, one order a key, clean books.

    I43, I44: each mail that counts as sent is in the mailbox.
    """
    body = cast("dict[str, str]", CHOREOGRAPHY.blueprint.workload.body(0, LINES))
    customer = body["customerId"]
    platform.client.put(contact(platform, customer), json={"email": ADDRESS})
    with Traffic(platform, gap_seconds=0.02) as traffic:

        def more() -> None:
            enough = len(traffic.accepted) + ENOUGH
            wait_for(lambda: len(traffic.accepted) >= enough or None, 60, "customers are served")

        def admitted(key: str) -> Response | None:
            answer = CHOREOGRAPHY.place(platform.url(1), key, platform.client)
            return answer if answer.status_code != OVERLOADED else None

        def repeated() -> None:
            for key, order_id in list(traffic.accepted.items())[:20]:
                answer = wait_for(partial(admitted, key), 20, "a repeated request is admitted")
                assert answer.status_code == 200, answer.text
                assert answer.json()["id"] == order_id

        traffic.resume()
        more()
        assert cache_health(platform) == "answers"
        redis_server.kill()
        more()
        repeated()
        wait_for(lambda: cache_health(platform).startswith("away") or None, 20, "it is shown")
        redis_server.start()
        wait_for(lambda: cache_health(platform) == "answers" or None, 20, "it is found again")
        repeated()
        with redis_server.frozen():
            more()
            repeated()
        hits = asked(platform, ORDER, "hit")

        def hit_again() -> bool:
            repeated()
            return asked(platform, ORDER, "hit") > hits

        wait_for(hit_again, 20, "hits again")
        traffic.pause()
    # A machine that is too slow for a moment may say so; nothing else, and nothing by halves.
    assert {status for status, _ in traffic.refused} <= {OVERLOADED}
    assert len(traffic.unknown) == len(traffic.refused) < ENOUGH
    traffic.settle_unknown()
    assert_balanced(platform, history=traffic.history())
    sent = rows(platform.data, "notification", SENT)
    assert len(sent) >= len(traffic.accepted) > 3 * ENOUGH
    wanted = {f"<{row['order_id']}.{row['kind']}@waybill>" for row in sent}
    assert wanted == {message_id for _, message_id in mailbox.taken}
    assert platform.products()[MOUSE]["reserved"] == 0
