"""Webhooks of the payment provider: believed only when signed lately, applied once, never over."""

from __future__ import annotations

import base64
import secrets as chance
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook
from tests.commerce.support import NOW, Service
from tests.commerce.test_payments_handlers import reserved
from tests.http.edge_memory import Responses

from waybill.commerce.contracts import (
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
)
from waybill.commerce.http.client import ClientSettings
from waybill.commerce.payments.domain import CHARGE, REFUND
from waybill.commerce.payments.handlers import ChargesSettled, PaymentHandler, RefundsSettled
from waybill.commerce.payments.http_provider import HttpProvider
from waybill.commerce.payments.notices import ProviderNotices
from waybill.commerce.payments.provider import ChargeCalls, RefundCalls
from waybill.commerce.payments.webhook import WebhookRefusedError, WebhookSettings, sign, verify
from waybill.commerce.payments.webhook_api import PATH, webhook_surface
from waybill.commerce.testing.http_server import Fault
from waybill.commerce.testing.provider_server import Movement, ProviderServer
from waybill.messaging.adapters.postgres.deliveries import PostgresDeliveries
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.platform.http.application import HttpParts, create_application
from waybill.platform.http.health import Health
from waybill.platform.http.limits import HttpLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from waybill.messaging.core.ports import Settlement

BODY = b'{"type": "charge.settled"}'


def a_secret() -> str:
    """As a provider gives one."""
    return "whsec_" + base64.b64encode(chance.token_bytes(32)).decode()


OLD, NEW = a_secret(), a_secret()
BOTH = WebhookSettings(secrets=(NEW, OLD))


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["old", "new"])
def test_while_a_secret_is_replaced_both_are_believed(secret: str) -> None:
    """The provider changes when it likes: no webhook is refused between."""
    assert verify(sign(secret, "msg_1", BODY, now=NOW), BODY, BOTH, now=NOW) == "msg_1"
    assert NEW not in repr(BOTH)


def test_one_signature_that_fits_is_enough() -> None:
    """A provider that signs with both its secrets is believed for the one that we know."""
    headers = sign(a_secret(), "msg_1", BODY, now=NOW)
    known = sign(OLD, "msg_1", BODY, now=NOW)["webhook-signature"]
    headers["webhook-signature"] += f" v1a,c29tZXRoaW5n {known}"
    assert verify(headers, BODY, BOTH, now=NOW) == "msg_1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,not base64"},
        {"webhook-signature": "none"},
        {"webhook-signature": ""},
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "x" * 257},
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-timestamp": "NaN"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "\u0661"},
    ],
)
def test_what_was_changed_is_not_believed(change: dict[str, str]) -> None:
    """Id, time and signature belong together."""
    headers = sign(OLD, "msg_1", BODY, now=NOW) | change
    with pytest.raises(WebhookRefusedError):
        verify(headers, BODY, BOTH, now=NOW)


def test_another_body_or_another_version_is_not_believed() -> None:
    """The raw bytes are signed; a signature of version 2 is not one of version 1."""
    headers = sign(OLD, "msg_1", BODY, now=NOW)
    with pytest.raises(WebhookRefusedError, match="no signature fits"):
        verify(headers, BODY + b" ", BOTH, now=NOW)
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(WebhookRefusedError, match="no signature fits"):
        verify(headers, BODY, BOTH, now=NOW)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_what_was_signed_long_ago_or_ahead_is_a_replay(seconds: int) -> None:
    """At the edge of the window it still passes, one second beyond it does not."""
    later = NOW + timedelta(seconds=seconds)
    with pytest.raises(WebhookRefusedError, match="replay"):
        verify(sign(OLD, "msg_1", BODY, now=NOW), BODY, BOTH, now=later)
    edge = NOW + timedelta(seconds=300 if seconds > 0 else -300)
    assert verify(sign(OLD, "msg_1", BODY, now=NOW), BODY, BOTH, now=edge)


def test_signatures_are_those_of_the_standards_own_library() -> None:
    """Both directions, against the reference implementation."""
    now = datetime.now(UTC)  # noqa: TID251 - the library looks at the machine's clock
    theirs = Webhook(OLD)
    headers = sign(OLD, "msg_1", BODY, now=now)
    assert theirs.verify(BODY, headers) == {"type": "charge.settled"}
    headers["webhook-signature"] = theirs.sign("msg_1", now, BODY.decode())
    assert verify(headers, BODY, BOTH, now=now) == "msg_1"


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_!!!"])
def test_a_secret_that_is_none_is_refused_at_start(secret: str) -> None:
    """And so is a list without any."""
    with pytest.raises(ConfigurationError, match="secret"):
        WebhookSettings(secrets=(secret,))
    with pytest.raises(ConfigurationError, match="secret"):
        WebhookSettings(secrets=())


class Desk:
    """The payment service with calls that nobody makes, and the webhooks' route around it."""

    def __init__(self, service: Service, server: ProviderServer) -> None:
        self.service, self.server = service, server
        self.provider = HttpProvider(ClientSettings(url=server.url))
        self.deliveries = PostgresDeliveries(service.database)
        charging, refunding = ChargeCalls(self.provider), RefundCalls(self.provider)
        charged, refunded = ChargesSettled(service.tally), RefundsSettled()
        self.handler = PaymentHandler(
            charges=Deliverer(
                CHARGE,
                ports=service.ports,
                deliveries=self.deliveries,
                call=charging.call,
                settled=charged.settled,
                lock=charged.lock,
            ),
            refunds=Deliverer(
                REFUND,
                ports=service.ports,
                deliveries=self.deliveries,
                call=refunding.call,
                settled=refunded.settled,
                lock=refunded.lock,
            ),
            deliveries=self.deliveries,
            new_id=new_id,
        )
        notices = ProviderNotices(
            service.ports,
            deliveries=self.deliveries,
            provider=self.provider,
            counters=service.tally,
        )
        parts = HttpParts(
            title="payment-service",
            version="0",
            health=Health({}),
            registry=CollectorRegistry(),
            observer=Responses(),
            now=lambda: NOW,
            info={},
            limits=HttpLimits(),
            admit_write=lambda: None,
        )
        surface = webhook_surface(notices, BOTH, now=lambda: NOW)
        transport = httpx2.ASGITransport(app=create_application(surface, parts))
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://payments")

    async def post(self, body: bytes, name: str = "msg_1", secret: str = NEW) -> int:
        """The status that a signed webhook gets."""
        headers = sign(secret, name, body, now=NOW)
        return (await self.client.post(PATH, content=body, headers=headers)).status_code

    def tell(
        self,
        order_id: UUID,
        status: str,
        *,
        kind: str = "charge",
        amount: Decimal = Decimal("20.00"),
    ) -> bytes:
        """The provider did so; the webhook that says it."""
        books = self.server.charges if kind == "charge" else self.server.refunds
        books[str(order_id)] = Movement("ch_1", status, amount, "EUR")
        return self.server.webhook(kind, str(order_id))

    async def settlement(self, order_id: UUID) -> Settlement | None:
        """What is recorded of the charge."""
        ((_, settlement),) = await self.deliveries.find(CHARGE, [str(order_id)])
        return settlement


@pytest.fixture
async def desk(payment: Service) -> AsyncIterator[Desk]:
    """On a real database, before a real provider."""
    async with ProviderServer(new_id=new_id) as server:
        desk = Desk(payment, server)
        yield desk
        await desk.provider.close()
        await desk.client.aclose()


async def test_a_webhook_settles_a_call_once(desk: Desk) -> None:
    """P6: sent three times, with two names, it is one payment, one event and one count."""
    ask = reserved()
    await desk.service.handle(desk.handler, [ask])
    body = desk.tell(ask.order_id, "captured")
    assert [await desk.post(body), await desk.post(body), await desk.post(body, "msg_2")] == [
        204
    ] * 3
    (event,) = await desk.service.published()
    assert isinstance(event, PaymentSucceeded)
    assert desk.service.tally.counts == {"payments_processed_total{outcome=success}": 1}
    assert await desk.settlement(ask.order_id) == Delivered(b"ch_1")
    assert not desk.server.asked


async def test_a_webhook_tells_of_a_refusal_and_of_a_refund(desk: Desk) -> None:
    """Both kinds of calls, both ends."""
    no, back = reserved(), reserved()
    await desk.service.handle(desk.handler, [no, back])
    assert await desk.post(desk.tell(no.order_id, "declined")) == 204
    assert await desk.post(desk.tell(back.order_id, "captured")) == 204
    wanted = RefundRequested(
        order_id=back.order_id, amount=Decimal("20.00"), reason=Reason.CUSTOMER_CANCELLED
    )
    await desk.service.handle(desk.handler, [wanted])
    assert await desk.post(desk.tell(back.order_id, "refunded", kind="refund")) == 204
    kinds = [type(event) for event in await desk.service.published()]
    assert kinds == [PaymentFailed, PaymentSucceeded, PaymentRefunded]


async def test_a_late_refusal_leaves_a_capture_alone(desk: Desk) -> None:
    """Protocol M6, B50: what contradicts the books is asked about, and the truth stands there."""
    ask = reserved()
    await desk.service.handle(desk.handler, [ask])
    late = desk.tell(ask.order_id, "declined")
    assert await desk.post(desk.tell(ask.order_id, "captured")) == 204
    assert await desk.post(late, "msg_0") == 204
    assert [asked.method for asked in desk.server.asked] == ["GET"]
    assert len(await desk.service.published()) == 1
    assert await desk.settlement(ask.order_id) == Delivered(b"ch_1")


async def test_a_capture_after_a_refusal_is_recorded_if_it_is_true(desk: Desk) -> None:
    """An order that was never to be charged: money that was taken is told, a lie is not."""
    ask = reserved()
    cancelled = OrderCancelled(order_id=ask.order_id, reason=Reason.CUSTOMER_CANCELLED)
    await desk.service.handle(desk.handler, [ask])
    assert await desk.post(desk.tell(ask.order_id, "declined")) == 204
    await desk.service.handle(desk.handler, [cancelled])
    untrue = desk.tell(ask.order_id, "captured")
    desk.tell(ask.order_id, "declined")
    assert await desk.post(untrue, "msg_2") == 204
    assert isinstance(await desk.settlement(ask.order_id), Refused)
    assert await desk.post(desk.tell(ask.order_id, "captured"), "msg_3") == 204
    assert isinstance(await desk.settlement(ask.order_id), Delivered)
    kinds = [type(event) for event in await desk.service.published()]
    assert kinds == [PaymentFailed, PaymentSucceeded]


async def test_a_contradiction_that_cannot_be_asked_about_is_to_be_sent_again(desk: Desk) -> None:
    """503 and nothing recorded: the provider repeats it."""
    ask = reserved()
    await desk.service.handle(desk.handler, [ask])
    assert await desk.post(desk.tell(ask.order_id, "declined")) == 204
    desk.server.faults.append(Fault.ERROR_BEFORE_WORK)
    assert await desk.post(desk.tell(ask.order_id, "captured"), "msg_2") == 503
    assert isinstance(await desk.settlement(ask.order_id), Refused)


async def test_what_is_not_ours_to_settle_is_passed_over(desk: Desk) -> None:
    """Unknown keys and types, other money, a state that is no end: 204, nothing changed."""
    ask = reserved()
    await desk.service.handle(desk.handler, [ask])
    bodies = [
        desk.tell(new_id(), "captured"),
        desk.tell(ask.order_id, "pending"),
        desk.tell(ask.order_id, "captured", amount=Decimal("2.00")),
        b'{"type": "dispute.opened", "data": {"anything": 1}}',
    ]
    assert [await desk.post(body) for body in bodies] == [204] * 4
    assert await desk.settlement(ask.order_id) is None
    assert await desk.service.published() == []


async def test_a_stranger_changes_nothing(desk: Desk) -> None:
    """401 for a signature that does not fit, whatever it says; 400 for a signed nonsense."""
    ask = reserved()
    await desk.service.handle(desk.handler, [ask])
    body = desk.tell(ask.order_id, "captured")
    assert await desk.post(body, secret=a_secret()) == 401
    assert (await desk.client.post(PATH, content=body)).status_code == 401
    for nonsense in (b"", b"[]", msgspec.json.encode({"type": "charge.settled", "data": {}})):
        assert await desk.post(nonsense) == 400
    assert await desk.settlement(ask.order_id) is None
