"""The registry by its protocol: who registers is seen, who falls silent is not."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.conftest import MovingClock
from tests.edge.registry_world import FailingStore, instance_of, served_registry
from tests.redis_server import RedisServer

from waybill.edge.registry.documents import (
    MalformedDocumentError,
    from_json,
    from_xml,
    to_json,
    to_xml,
)
from waybill.edge.registry.entries import given_by
from waybill.edge.registry.redis_store import RedisStore
from waybill.edge.registry.registry import Registry
from waybill.edge.registry.store import MemoryStore
from waybill.messaging.core.errors import OverloadedError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from waybill.edge.registry.store import RegistryStore

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for this file."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[RegistryStore]:
    """An empty one of each kind."""
    made: RegistryStore = MemoryStore()
    if request.param == "redis":
        made = RedisStore(redis.url, prefix=f"{request.node.name}:")
    yield made
    await made.close()


async def test_a_value_is_changed_only_by_who_knows_it(store: RegistryStore) -> None:
    """The store's contract: compare and set; of several at once one wins."""
    assert await store.get("a") is None
    assert not await store.swap("a", b"other", b"1")
    won = await asyncio.gather(*(store.swap("a", None, str(n).encode()) for n in range(9)))
    assert sum(won) == 1
    value = await store.get("a")
    assert value == str(won.index(True)).encode()
    assert await store.swap("b", None, b"\xff\x00")
    assert await store.read() == {"a": value, "b": b"\xff\x00"}
    assert await store.swap("b", b"\xff\x00", None)
    assert not await store.swap("b", b"\xff\x00", b"2")
    assert await store.read() == {"a": value}


async def test_an_instance_is_there_for_its_lease_and_news_for_three_minutes(
    store: RegistryStore,
) -> None:
    """Register, renew, expire: at its lease's end it is gone, and who asks for news is told."""
    clock = MovingClock()
    registry = Registry(store, now=clock.now)
    document = {"instance": instance_of("order-service", 8081)}
    await registry.register(given_by(document, "order-service"))
    [entry] = (await registry.look()).live
    assert (entry.app, entry.action) == ("ORDER-SERVICE", "ADDED")
    for _ in range(3):
        clock.instant += timedelta(seconds=14)
        assert await registry.renew("order-service", entry.id)
    clock.instant += timedelta(seconds=15)
    assert len((await registry.look()).live) == 1
    clock.instant += timedelta(seconds=1)
    seen = await registry.look()
    assert (seen.live, [each.action for each in seen.news]) == ([], ["DELETED"])
    assert not await registry.renew("ORDER-SERVICE", entry.id)
    assert not await registry.cancel("ORDER-SERVICE", entry.id)
    clock.instant += timedelta(seconds=181)
    assert (await registry.look()).news == []
    assert await store.read() == {}


async def test_registries_share_what_their_store_keeps(redis: RedisServer) -> None:
    """A second one, and one that starts again, knows whom the first was told of."""
    clock = MovingClock()
    stores = [RedisStore(redis.url, prefix="shared:") for _ in range(2)]
    first, second = (Registry(each, now=clock.now) for each in stores)
    document = {"instance": instance_of("payment-service", 8082)}
    await first.register(given_by(document, "PAYMENT-SERVICE"))
    [entry] = (await second.look()).live
    clock.instant += timedelta(seconds=14)
    assert await second.renew(entry.app, entry.id)
    clock.instant += timedelta(seconds=14)
    assert len((await first.look()).live) == 1
    assert await second.cancel(entry.app, entry.id)
    assert (await first.look()).live == []
    for each in stores:
        await each.close()


async def test_a_redis_that_is_away_is_an_outage_and_no_verdict(tmp_path: Any) -> None:  # noqa: ANN401 - pytest's
    """It raises TransientError within its time, and answers when Redis does."""
    server = RedisServer(tmp_path)
    server.start()
    store = RedisStore(server.url)
    try:
        assert await store.swap("a", None, b"1")
        server.kill()
        for ask in (store.read(), store.get("a"), store.swap("a", None, b"2")):
            with pytest.raises(TransientError):
                await ask
        server.start()
        assert await store.read() == {}
    finally:
        await store.close()
        server.kill()


async def test_nobody_expires_by_an_outage_of_the_registry() -> None:
    """After its store was away, or itself, leases begin anew: nobody could have renewed."""
    store = FailingStore()
    clock = MovingClock()
    registry = Registry(store, now=clock.now)
    document = {"instance": instance_of("order-service", 8081)}
    await registry.register(given_by(document, "ORDER-SERVICE"))
    store.away = True
    with pytest.raises(TransientError):
        await registry.look()
    clock.instant += timedelta(seconds=60)
    store.away = False
    assert len((await registry.look()).live) == 1
    clock.instant += timedelta(seconds=60)
    again = Registry(store, now=clock.now)
    assert len((await again.look()).live) == 1
    clock.instant += timedelta(seconds=16)
    assert (await again.look()).live == []


async def test_the_registry_is_bounded() -> None:
    """Beyond its limit a new instance is refused, and those that are there go on."""
    clock = MovingClock()
    registry = Registry(MemoryStore(), now=clock.now, instances_max=2)
    for port in (1, 2):
        await registry.register(given_by({"instance": instance_of("a", port)}, "a"))
    with pytest.raises(OverloadedError):
        await registry.register(given_by({"instance": instance_of("a", 3)}, "a"))
    await registry.register(given_by({"instance": instance_of("a", 2)}, "a"))
    assert len((await registry.look()).live) == 2


async def test_what_is_registered_is_read_as_eureka_writes_it() -> None:
    """Contracts of Eureka's REST: paths, both spellings, the hash, and what one instance shows."""
    async with served_registry() as w, httpx2.AsyncClient(base_url=w.url) as client:
        metadata = {"zone": "west", "management.port": "9001"}
        for port, status in ((8081, "UP"), (8091, "OUT_OF_SERVICE")):
            instance = instance_of("order-service", port, status=status, metadata=metadata)
            answer = await client.post("/apps/order-service", json={"instance": instance})
            assert (answer.status_code, answer.content) == (204, b"")
        body = (await client.get("/apps/", headers=JSON)).json()["applications"]
        assert (body["versions__delta"], body["apps__hashcode"]) == ("1", "OUT_OF_SERVICE_1_UP_1_")
        [application] = body["application"]
        assert application["name"] == "ORDER-SERVICE"
        first = application["instance"][0]
        assert first["port"] == {"$": 8081, "@enabled": "true"}
        assert first["metadata"] == metadata
        assert first["leaseInfo"]["durationInSecs"] == 15
        assert first["dataCenterInfo"]["name"] == "MyOwn"
        answer = await client.get("/apps")
        assert answer.headers["content-type"] == "application/xml"
        root = ET.fromstring(answer.content)  # noqa: S314 - our own answer
        shown = root.find("application/instance")
        assert shown is not None
        assert shown.findtext("port") == "8081"
        assert shown.find("port").attrib == {"enabled": "true"}  # type: ignore[union-attr]  # it is there
        assert shown.findtext("metadata/management.port") == "9001"
        one = f"/apps/ORDER-SERVICE/{first['instanceId']}"
        for path in (one, f"/instances/{first['instanceId']}"):
            found = (await client.get(path, headers=JSON)).json()["instance"]
            assert found["instanceId"] == first["instanceId"]
        found = (await client.get("/apps/order-service", headers=JSON)).json()["application"]
        assert len(found["instance"]) == 2
        found = (await client.get("/vips/order-service", headers=JSON)).json()["applications"]
        assert len(found["application"][0]["instance"]) == 2
        for path in ("/apps/NOBODY", "/apps/NOBODY/x", "/instances/x", "/vips/x", "/svips/x"):
            assert (await client.get(path)).status_code == 404


async def test_xml_registers_what_json_does() -> None:
    """A client that writes XML is seen by one that reads JSON."""
    body = b"""<instance><instanceId>h:a:1</instanceId><hostName>h</hostName><app>A</app>
        <ipAddr>10.0.0.1</ipAddr><status>UP</status><port enabled="true">80</port>
        <leaseInfo><durationInSecs>20</durationInSecs></leaseInfo><metadata><k>v</k></metadata>
        <dataCenterInfo class="c.n.Info"><name>MyOwn</name></dataCenterInfo></instance>"""
    async with served_registry() as w, httpx2.AsyncClient(base_url=f"{w.url}/v2") as client:
        answer = await client.post(
            "/apps/A", content=body, headers={"Content-Type": "application/xml"}
        )
        assert answer.status_code == 204
        found = (await client.get("/apps/A/h:a:1", headers=JSON)).json()["instance"]
        assert found["port"] == {"@enabled": "true", "$": "80"}
        assert found["metadata"] == {"k": "v"}
        assert found["leaseInfo"]["durationInSecs"] == 20
        assert found["dataCenterInfo"] == {"@class": "c.n.Info", "name": "MyOwn"}


async def test_heartbeats_goodbyes_and_an_operators_word() -> None:
    """Renew, status, its end, cancel: 200 for who is there, 404 for who shall register again."""
    async with served_registry() as w, httpx2.AsyncClient(base_url=w.url) as client:
        one = "/apps/A/127.0.0.1:a:1"

        async def status() -> str:
            found = (await client.get(one, headers=JSON)).json()["instance"]
            return str(found["status"])

        assert (await client.put(one)).status_code == 404
        instance = instance_of("a", 1, lastDirtyTimestamp="1000")
        await client.post("/apps/A", json={"instance": instance})
        heartbeat = {"status": "UP", "lastDirtyTimestamp": "1000"}
        assert (await client.put(one, params=heartbeat)).status_code == 200
        newer = {"status": "DOWN", "lastDirtyTimestamp": "2000"}
        assert (await client.put(one, params=newer)).status_code == 404
        word = await client.put(f"{one}/status", params={"value": "OUT_OF_SERVICE"})
        assert (word.status_code, await status()) == (200, "OUT_OF_SERVICE")
        assert (await client.put(f"{one}/status", params={"value": "ILL"})).status_code == 400
        old = instance_of("a", 1, lastDirtyTimestamp="999", status="DOWN")
        await client.post("/apps/A", json={"instance": old})
        assert await status() == "OUT_OF_SERVICE"  # what is older changes nothing
        assert (await client.delete(f"{one}/status")).status_code == 200
        assert await status() == "UP"
        assert (await client.delete(one)).status_code == 200
        assert (await client.delete(one)).status_code == 404
        news = (await client.get("/apps/delta", headers=JSON)).json()["applications"]
        assert news["apps__hashcode"] == ""
        assert news["application"][0]["instance"][0]["actionType"] == "DELETED"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("json", b"{"),
        ("json", b"[]"),
        ("json", b'{"instance": 1}'),
        ("json", b'{"instance": {"app": "B", "hostName": "h"}}'),
        ("json", b'{"instance": {"app": "A"}}'),
        ("json", b'{"instance": {"app": "A", "hostName": "h", "status": "WELL"}}'),
        ("json", b'{"instance": {"app": "A", "hostName": "h\\u0001"}}'),
        ("json", b'{"instance": {"app": "A", "hostName": "h", "metadata": {"a b": "1"}}}'),
        ("json", b'{"instance":' + b'{"a":' * 900 + b"1" + b"}" * 901),
        ("json", b'{"instance": {"app": "A", "hostName": "' + b"h" * 257 + b'"}}'),
        ("xml", b"<instance>"),
        ("xml", b'<!DOCTYPE a [<!ENTITY b "c">]><instance><app>A</app></instance>'),
        ("xml", b"<a>" * 3_000 + b"</a>" * 3_000),
    ],
)
async def test_what_would_hide_the_others_is_refused(kind: str, body: bytes) -> None:
    """400 that says why; the list of all others stays readable."""
    async with served_registry() as w, httpx2.AsyncClient(base_url=w.url) as client:
        answer = await client.post(
            "/apps/A", content=body, headers={"Content-Type": f"application/{kind}"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_instance")
        ET.fromstring((await client.get("/apps")).content)  # noqa: S314 - our own answer


async def test_a_registry_with_a_password_asks_everybody() -> None:
    """HTTP Basic, as Eureka's; a wrong one is told no more than a missing one."""
    async with (
        served_registry(password="much-secret") as w,  # noqa: S106 - of a test
        httpx2.AsyncClient(base_url=w.url) as client,
    ):
        bodies = set()
        for auth in (None, ("waybill", "other"), ("other", "much-secret")):
            answer = await client.get("/apps", auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
            bodies.add(json.dumps({**answer.json(), "traceId": "", "timestamp": ""}))
        assert len(bodies) == 1
        allowed = await client.get("/apps", auth=("waybill", "much-secret"))
        assert allowed.status_code == 200


_names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,8}\Z")
_texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    min_size=1,
).map(lambda text: f"x{text}x")


@settings(max_examples=25, deadline=None)  # a busy machine is no wrong document
@given(st.dictionaries(_names, _texts | st.dictionaries(_names, _texts, min_size=1), min_size=1))
def test_a_document_is_the_same_in_both_spellings(tree: dict[str, Any]) -> None:
    """XML and JSON carry one tree: what goes through one comes out of the other as it was."""
    document = {"instance": tree}
    assert from_xml(to_xml(document)) == from_json(to_json(document)) == document


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    """Whatever comes is a document or MalformedDocumentError."""
    for read in (from_json, from_xml):
        try:
            read(body)
        except MalformedDocumentError:
            continue
