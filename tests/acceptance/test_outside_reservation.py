"""Seed 001 on MariaDB with a mail server and a Redis: adapters know no blueprint and no engine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from tests.acceptance.engines import on_mariadb, provisioned
from tests.acceptance.outside import NOTIFICATION, ORDER, Mailbox, asked, environment, told
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.acceptance.test_reservation import EMAIL, place, stock

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_server import RedisServer

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def platform(
    session_directory: Path, mariadb_url: str, redis_server: RedisServer, mailbox: Mailbox
) -> Iterator[PlatformProcess]:
    """A running platform of this blueprint whose databases are on MariaDB, that has both."""
    directory = Path(tempfile.mkdtemp(prefix="reservation-", dir=session_directory))
    directory.chmod(0o711)
    given = {"WAYBILL_BLUEPRINT": "reservation"} | on_mariadb(mariadb_url)
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment=given | environment(redis_server, mailbox),
    )
    platform.without = frozenset({"payment"})
    try:
        yield provisioned(platform).start()
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


def test_the_customer_of_the_order_gets_the_mail(
    platform: PlatformProcess, redis_server: RedisServer, mailbox: Mailbox
) -> None:
    """C38: the document has the address in its orders, so there are no contacts to ask; a cache."""
    stock(platform, "SKU-1", 5)
    key = {"Idempotency-Key": str(new_id())}
    first = place(platform, "SKU-1", 2, **key)
    order_id = first.json()["orderId"]
    assert told(platform, order_id) == "SENT"
    assert mailbox.about(order_id) == [(EMAIL, f"<{order_id}.OrderConfirmed@waybill>")]
    with Redis.from_url(redis_server.url) as redis:
        name = f"idem:{key['Idempotency-Key']}"
        wait_for(lambda: redis.exists(name) or None, 20, "the answer is in the cache")
    hits = asked(platform, ORDER, "hit")
    assert place(platform, "SKU-1", 2, **key).content == first.content
    assert asked(platform, ORDER, "hit") == hits + 1
    url = f"{platform.url(NOTIFICATION)}/api/v1/contacts/{EMAIL}"
    assert platform.client.put(url, json={"email": EMAIL}).status_code == 404
