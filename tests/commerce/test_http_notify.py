"""POST /notify, both ends: non-blocking, bounded, four tries, then failed until it works."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from tests.blocking import no_blocking_calls
from tests.commerce.support import NOW, Service, eventually
from tests.http.edge_memory import Responses

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.notifications.http_notify import (
    NOTIFY,
    POLICY,
    FailedNotifications,
    HttpNotifier,
)
from waybill.commerce.notifications.notify_api import ReceivedNotices, notify_surface
from waybill.commerce.testing.http_server import Asked, Fault, Reply, TryServer
from waybill.messaging.core.breaker import Breaker, BreakerPolicy, BreakerState
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Failed, Refused, Unknown
from waybill.messaging.core.ports import Delivery
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.http.limits import HttpLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

BODY = b'{"orderId":1,"userId":1,"productIds":[1,2,3]}'
ROUNDS: dict[Fault, type] = {
    Fault.TOO_MANY: Failed,
    Fault.ERROR_BEFORE_WORK: Failed,
    Fault.ERROR_AFTER_WORK: Failed,
    Fault.REDIRECT: Failed,
    Fault.GARBAGE: Delivered,
}
"""What follows from a fault; from any other, Unknown."""


class Other(TryServer):
    """The service that is notified. `status` is what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.effects: set[str] = set()

    def reply(self, asked: Asked) -> Reply:
        """Notified once a key."""
        if self.status < 300:
            self.effects.add(asked.headers["idempotency-key"])
        return Reply(self.status, b"Notified successfully")


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    """It listens."""
    async with Other() as other:
        yield other


@pytest.fixture
async def notifier(other: Other) -> AsyncIterator[HttpNotifier]:
    """Impatient."""
    settings = ClientSettings(url=other.url, connect_seconds=0.3, timeout_seconds=0.3)
    notifier = HttpNotifier(settings)
    yield notifier
    await notifier.close()


def a_notice(key: UUID | None = None) -> Delivery:
    """A notification that is owed."""
    return Delivery(
        id=new_id(),
        kind=NOTIFY,
        key=str(key or new_id()),
        request=BODY,
        correlation_id="order-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


async def test_the_event_goes_out_as_it_is_with_its_id(
    other: Other, notifier: HttpNotifier
) -> None:
    """The documented JSON; the id, the trace and the conversation beside it."""
    notice = a_notice()
    with no_blocking_calls():
        assert isinstance(await notifier.call(notice), Delivered)
    (asked,) = other.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/notify", BODY)
    assert asked.headers["idempotency-key"] == notice.key
    assert asked.headers["traceparent"] == notice.traceparent
    assert asked.headers["x-correlation-id"] == "order-1"


@pytest.mark.parametrize("fault", [*Fault])
async def test_each_fault_has_its_outcome(
    other: Other, notifier: HttpNotifier, fault: Fault
) -> None:
    """None blocks, none is taken for an answer, and the repeat is recognised."""
    notice = a_notice()
    other.faults.append(fault)
    with no_blocking_calls():
        outcome = await notifier.call(notice)
        again = await notifier.call(notice)
    assert isinstance(outcome, ROUNDS.get(fault, Unknown))
    assert isinstance(again, Delivered)
    assert other.effects == {notice.key}


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, Refused), (404, Failed), (401, Failed), (500, Unknown)]
)
async def test_each_status_has_its_outcome(
    other: Other, notifier: HttpNotifier, status: int, outcome: type
) -> None:
    """Final is only what is said of the request itself."""
    other.status = status
    assert type(await notifier.call(a_notice())) is outcome


class Notifications:
    """The deliverer of notifications on a real database, in real time, faster than in earnest."""

    def __init__(
        self, service: Service, notifier: HttpNotifier, *, open_seconds: float = 0.2
    ) -> None:
        self.service = service
        self.breaker = Breaker(
            BreakerPolicy(window_size=4, calls_min=4, open_seconds=open_seconds, open_jitter=0.0),
            lambda: 0.5,
        )
        self.deliverer = Deliverer(
            NOTIFY,
            ports=service.ports,
            deliveries=service.deliveries,
            call=notifier.call,
            settled=notifier.settled,
            policy=replace(
                POLICY, backoff=Backoff(base_seconds=0.02, cap_seconds=0.1), uncounted_seconds=0.05
            ),
            breaker=self.breaker,
        )
        database = service.database
        self.failed = FailedNotifications(self._parked, self._again)
        self._database = database

    async def _parked(self) -> list[UUID]:
        parked = await self.service.verdicts.list_parked_deliveries(self._database, kind=NOTIFY)
        return [each.id for each in parked]

    async def _again(self, ids: object) -> None:
        await self.service.verdicts.judge_parked_deliveries(
            self._database,
            list(ids),  # type: ignore[call-overload] # the ids that _parked gave
            None,
            who="retry",
            why="periodic retry",
        )

    async def owe(self, *notices: Delivery) -> None:
        """Commit them."""
        async with self.service.unit() as unit:
            await self.deliverer.owe(unit, notices)

    async def states(self) -> dict[str, int]:
        """How many rows are in which state."""
        rows = await self.service.rows(
            "SELECT state, count(*) FROM messaging.deliveries WHERE kind = 'notify' GROUP BY state"
        )
        return {row[0]: row[1] for row in rows}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs."""
        task = asyncio.create_task(self.deliverer.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_pause_before_each_retry_is_twice_the_last() -> None:
    """R168: at most 1, 2 and 4 s, each shortened at random so that senders do not come together."""
    backoff = POLICY.backoff
    most = [backoff.delay_seconds(tries, lambda: 1.0) for tries in range(3)]
    some = [backoff.delay_seconds(tries, lambda: 0.5) for tries in range(3)]
    assert most == [1.0, 2.0, 4.0]
    assert all(0 < shorter < longest for shorter, longest in zip(some, most, strict=True))


async def test_three_retries_then_failed_and_closed_by_the_periodic_retry(
    other: Other, notifier: HttpNotifier, notification: Service
) -> None:
    """R1 of seed 000: NOTIFY_FAILED after four calls; once it works again the row is closed."""
    notifications = Notifications(notification, notifier)
    notice = a_notice()
    other.status = 500

    async def is_parked() -> bool:
        return await notifications.states() == {"PARKED": 1}

    async def is_delivered() -> bool:
        return await notifications.states() == {"DELIVERED": 1}

    async with notifications.running():
        await notifications.owe(notice)
        await eventually(is_parked)
        assert len(other.asked) == POLICY.failures_max == 4
        other.status = 200
        assert await notifications.failed.retry() == 1
        notifications.deliverer.wake()
        await eventually(is_delivered)
        assert await notifications.failed.retry() == 0
    assert other.effects == {notice.key}


async def test_an_outage_opens_the_breaker_and_uses_up_no_tries(
    other: Other, notifier: HttpNotifier, notification: Service
) -> None:
    """B35: while it is open few calls are made; every notification arrives, once, afterwards."""
    notifications = Notifications(notification, notifier)
    notices = [a_notice() for _ in range(30)]
    await other.stop()

    async def is_open() -> bool:
        state = notifications.breaker.state(notification.clock.monotonic())
        return state is BreakerState.OPEN

    async def all_told() -> bool:
        while await notifications.failed.retry():
            notifications.deliverer.wake()
        return len(other.effects) == len(notices)

    async with notifications.running():
        await notifications.owe(*notices)
        await eventually(is_open)
        await other.start()
        await eventually(all_told)
    assert notifications.breaker.calls["not_permitted"] > 0
    assert other.effects == {notice.key for notice in notices}


async def test_an_open_breaker_makes_no_call(
    other: Other, notifier: HttpNotifier, notification: Service
) -> None:
    """R169: four that failed open it; whoever comes while it is open is turned away uncalled."""
    notifications = Notifications(notification, notifier, open_seconds=60.0)
    other.status = 500
    async with notifications.running():
        await notifications.owe(*(a_notice() for _ in range(4)))

        async def is_open() -> bool:
            state = notifications.breaker.state(notification.clock.monotonic())
            return state is BreakerState.OPEN

        await eventually(is_open)
        await notifications.owe(*(a_notice() for _ in range(10)))

        async def all_turned_away() -> bool:
            return notifications.breaker.calls["not_permitted"] >= 14

        await eventually(all_turned_away)
    assert len(other.asked) == 4


class Receiver:
    """POST /notify on a real database."""

    def __init__(self, service: Service) -> None:
        self.told: list[bytes] = []
        self.service = service
        notices = ReceivedNotices(service.ports, self.told.append)
        parts = HttpParts(
            title="notification-service",
            version="0",
            health=Health({}),
            registry=CollectorRegistry(),
            observer=Responses(),
            now=lambda: NOW,
            info={},
            limits=HttpLimits(),
            admit_write=lambda: None,
        )
        application = create_application(notify_surface(notices), parts)
        transport = httpx2.ASGITransport(app=application)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://notification")

    async def post(
        self, body: bytes = BODY, key: str | None = None, kind: str = "application/json"
    ) -> httpx2.Response:
        """Notify it."""
        headers = {"Content-Type": kind} | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/notify", content=body, headers=headers)


async def test_the_receiver_takes_a_key_once(notification: Service) -> None:
    """Repeated, also at the same time: 200 with the documented text, told once."""
    receiver = Receiver(notification)
    for key in (str(new_id()), '"any text"'):
        answers = [await receiver.post(key=key)]
        answers += await asyncio.gather(*(receiver.post(key=key) for _ in range(4)))
        assert {(answer.status_code, answer.text) for answer in answers} == {
            (200, "Notified successfully")
        }
        replays = [answer.headers.get("Idempotent-Replayed") for answer in answers]
        assert replays == [None, *["true"] * 4]
    assert receiver.told == [BODY] * 2
    for _ in range(2):
        await receiver.post(b'{"request": ""}')
    assert len(receiver.told) == 4
    await receiver.client.aclose()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (BODY, "text/plain", 415),
        (b'{"x":"' + b"y" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_the_receiver_refuses_what_is_no_object(
    notification: Service, body: bytes, kind: str, status: int
) -> None:
    """Nothing is told, and the key stays free."""
    receiver = Receiver(notification)
    assert (await receiver.post(body, "key", kind)).status_code == status
    assert (await receiver.post(key="key")).headers.get("Idempotent-Replayed") is None
    assert receiver.told == [BODY]
    await receiver.client.aclose()
