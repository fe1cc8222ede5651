"""What the order service makes of every way in which the payment service fails: never a guess."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.commerce.support import eventually
from tests.messaging.ledger import CODEC

from waybill.commerce.charging import CHARGE_PATH, DEADLINE_HEADER, Charge
from waybill.commerce.http.client import ClientSettings
from waybill.commerce.orders.paying import PAYMENT
from waybill.commerce.orders.payment_client import PaymentClient
from waybill.commerce.testing.http_server import Asked, Fault, Reply, TryServer
from waybill.messaging.adapters.memory import MemoryDeliveries
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown
from waybill.messaging.core.ports import Delivery
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.runtime.delivery import DeliveryPolicy
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from waybill.messaging.core.ports import Settlement
    from waybill.messaging.core.unit import UnitOfWork

ORDER, PAID = new_id(), new_id()
NOT_AFTER = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMEOUT_SECONDS = 0.3


class Payments(TryServer):
    """A payment service as C31 has it, in a few lines."""

    def __init__(self) -> None:
        super().__init__()
        self.status = "SUCCEEDED"
        self.known = False
        self.money: dict[str, Any] = {"amount": 59.98, "currency": "EUR"}

    def reply(self, asked: Asked) -> Reply:
        """See TryServer."""
        if asked.method == "GET":
            known = {"id": str(PAID), "status": self.status, "reason": "deadline", **self.money}
            return Reply(200, msgspec.json.encode({"items": [known] if self.known else []}))
        self.known = True
        if self.status == "FAILED":
            return Reply(402, b'{"code": "payment_refused", "detail": "Insufficient funds"}')
        if self.status == "CHARGED_OTHERWISE":
            return Reply(409, b'{"code": "idempotency_key_reused"}')
        if self.status == "PENDING":
            return Reply(503, b'{"code": "payment_pending"}')
        asked_for = msgspec.json.decode(asked.body) | self.money
        charged = asked_for | {"paymentId": str(PAID), "status": self.status}
        return Reply(200, msgspec.json.encode(charged))


@pytest.fixture
async def payments() -> AsyncIterator[Payments]:
    """A payment service that listens."""
    async with Payments() as payments:
        yield payments


@pytest.fixture
async def client(payments: Payments) -> AsyncIterator[PaymentClient]:
    """An impatient client of it."""
    limits = {"connect_seconds": TIMEOUT_SECONDS, "timeout_seconds": TIMEOUT_SECONDS}
    client = PaymentClient(ClientSettings(url=payments.url, **limits))  # type: ignore[arg-type] # seconds
    yield client
    await client.close()


def owed() -> Delivery:
    """What an order owes."""
    request = b'{"orderId":"%s","amount":59.98,"currency":"EUR"}' % str(ORDER).encode()
    return Delivery(id=new_id(), kind=PAYMENT, key=str(ORDER), request=request, not_after=NOT_AFTER)


async def test_it_asks_as_documented(payments: Payments, client: PaymentClient) -> None:
    """C31: the path, the body, the order's id as the key; and the deadline beside them."""
    outcome = await client.call(owed())
    assert outcome == Delivered(str(PAID).encode())
    (asked,) = payments.asked
    assert (asked.method, asked.path) == ("POST", CHARGE_PATH)
    assert msgspec.json.decode(asked.body, type=Charge).order_id == ORDER
    assert asked.headers["idempotency-key"] == str(ORDER)
    assert asked.headers[DEADLINE_HEADER] == NOT_AFTER.isoformat()


async def test_a_refusal_is_an_answer(payments: Payments, client: PaymentClient) -> None:
    """402 stays no; asked about later, it says why."""
    payments.status = "FAILED"
    assert await client.call(owed()) == Refused("payment_refused", "Insufficient funds")
    assert await client.query(owed()) == Refused("deadline", "")


async def test_what_is_not_decided_is_asked_about(
    payments: Payments, client: PaymentClient
) -> None:
    """503 is unknown (C31); a question about a pending payment uses up no attempt."""
    payments.status = "PENDING"
    assert isinstance(await client.query(owed()), NotFound)
    assert isinstance(await client.call(owed()), Unknown)
    pending = await client.query(owed())
    assert isinstance(pending, Failed)
    assert not pending.counts
    payments.status = "REFUND_PENDING"
    assert await client.query(owed()) == Delivered(str(PAID).encode())


@pytest.mark.parametrize("status", ["SUCCEEDED", "REFUND_PENDING", "REFUNDED"])
@pytest.mark.parametrize(
    "money",
    [
        {"amount": 59.97, "currency": "EUR"},
        {"amount": 59.98, "currency": "USD"},
        {"amount": None, "currency": None},
    ],
)
async def test_a_capture_of_other_money_is_not_believed(
    payments: Payments, client: PaymentClient, status: str, money: dict[str, Any]
) -> None:
    """Whoever had it made under the order's id: neither yes nor no, as the port has it."""
    payments.status, payments.money, payments.known = status, money, True
    answer = await client.query(owed())
    assert isinstance(answer, Unknown)
    assert "in place of 59.98 EUR" in answer.reason
    assert isinstance(await client.call(owed()), Unknown)


@pytest.mark.parametrize(
    "money", [{"amount": None, "currency": None}, {"amount": 59.97, "currency": "EUR"}]
)
async def test_a_refusal_is_believed_whatever_it_was_about(
    payments: Payments, client: PaymentClient, money: dict[str, Any]
) -> None:
    """A payment that was refused before it was asked for has no amount: nothing will move."""
    payments.status, payments.money, payments.known = "FAILED", money, True
    assert await client.query(owed()) == Refused("deadline", "")


async def test_an_order_that_was_charged_with_other_money_is_asked_about(
    payments: Payments, client: PaymentClient
) -> None:
    """409 is no wrong address: what moved under the key is for a question, then an operator."""
    payments.status = "CHARGED_OTHERWISE"
    assert isinstance(await client.call(owed()), Unknown)


@pytest.mark.parametrize("fault", [*Fault])
async def test_no_fault_is_taken_for_an_answer(
    payments: Payments, client: PaymentClient, fault: Fault
) -> None:
    """Whatever may have charged is Unknown; Failed only where nothing can have happened."""
    payments.faults.append(fault)
    outcome = await client.call(owed())
    assert isinstance(outcome, Failed if fault in {Fault.TOO_MANY, Fault.REDIRECT} else Unknown)
    payments.faults.append(fault)
    told = await client.query(owed())
    assert isinstance(told, Failed)
    assert not told.counts


async def test_a_service_that_is_away_was_not_called(
    payments: Payments, client: PaymentClient
) -> None:
    """A refused connection is Failed: the same key may be called again without a question."""
    await payments.stop()
    assert isinstance(await client.call(owed()), Failed)
    await payments.start()
    assert isinstance(await client.call(owed()), Delivered)


async def test_one_failure_is_retried_into_one_charge(
    payments: Payments, client: PaymentClient
) -> None:
    """The first call is lost, the second one pays: settled once (R174)."""
    settled: list[Settlement] = []

    async def settle(_unit: UnitOfWork, outcomes: Sequence[tuple[Delivery, Settlement]]) -> None:
        settled.extend(outcome for _, outcome in outcomes)

    service = MemoryService(CODEC)
    clock = SystemClock()
    deliverer = Deliverer(
        PAYMENT,
        ports=replace(service.ports, clock=clock),
        deliveries=MemoryDeliveries(service.database, clock),
        call=client.call,
        query=client.query,
        settled=settle,
        policy=DeliveryPolicy(
            timeout_seconds=1.0,
            margin_seconds=0.1,
            backoff=Backoff(base_seconds=0.01),
            poll_seconds=0.05,
        ),
    )
    payments.faults.append(Fault.ERROR_BEFORE_WORK)
    running = asyncio.create_task(deliverer.run())
    async with service.database.transaction() as transaction:
        delivery = msgspec.structs.replace(owed(), not_after=None)
        await deliverer.owe(service.ports.unit(transaction), [delivery])

    async def done() -> bool:
        return bool(settled)

    await eventually(done)
    deliverer.stop()
    await running
    assert settled == [Delivered(str(PAID).encode())]
    posts = [asked for asked in payments.asked if asked.method == "POST"]
    assert [asked.headers["idempotency-key"] for asked in posts] == [str(ORDER)] * 2
