"""What the HTTP adapter makes of every way in which a provider fails: never a guess."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.blocking import no_blocking_calls
from tests.commerce.support import eventually
from tests.messaging.ledger import CODEC

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.payments.domain import CHARGE, ChargeRequest
from waybill.commerce.payments.http_provider import HttpProvider
from waybill.commerce.payments.provider import ChargeCalls
from waybill.commerce.testing.http_server import Fault, Reply
from waybill.commerce.testing.payment_provider import Wanted, charge, charged, refund, refunded
from waybill.commerce.testing.provider_server import ProviderServer
from waybill.messaging.adapters.memory import MemoryDeliveries
from waybill.messaging.adapters.memory.deliveries import DeliveryState
from waybill.messaging.core.errors import ConfigurationError
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

    from tests.commerce.certificate import Certificate

    from waybill.messaging.core.ports import Settlement
    from waybill.messaging.core.unit import UnitOfWork

TIMEOUT_SECONDS = 0.3


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    """A provider that listens."""
    async with ProviderServer(new_id=new_id) as server:
        yield server


def settings_for(server: ProviderServer, **fields: Any) -> ClientSettings:  # noqa: ANN401 - its fields
    """Impatient ones."""
    given = {"connect_seconds": TIMEOUT_SECONDS, "timeout_seconds": TIMEOUT_SECONDS} | fields
    return ClientSettings(url=server.url, **given)


@pytest.fixture
async def provider(server: ProviderServer) -> AsyncIterator[HttpProvider]:
    """The adapter."""
    provider = HttpProvider(settings_for(server))
    yield provider
    await provider.close()


@pytest.mark.parametrize("fault", [*Fault])
async def test_no_fault_is_taken_for_an_answer(
    server: ProviderServer, provider: HttpProvider, fault: Fault
) -> None:
    """Whatever may have captured is Unknown; Failed only where nothing can have happened."""
    wanted = Wanted(new_id())
    server.faults.append(fault)
    outcome = await charge(provider, wanted)
    assert isinstance(outcome, Failed if fault in {Fault.TOO_MANY, Fault.REDIRECT} else Unknown)
    assert len(server.asked) == 1
    if isinstance(outcome, Failed):
        assert not server.captured
    told = await charged(provider, wanted)
    assert isinstance(told, Delivered if server.captured else NotFound)
    assert isinstance(await charge(provider, wanted), Delivered)
    assert server.captured == 1


@pytest.mark.parametrize("fault", [*Fault])
async def test_a_question_that_got_no_answer_says_nothing(
    server: ProviderServer, provider: HttpProvider, fault: Fault
) -> None:
    """Neither "not found" nor an attempt: it did not get through, or cannot be read."""
    wanted = Wanted(new_id())
    await charge(provider, wanted)
    server.faults.append(fault)
    outcome = await charged(provider, wanted)
    if isinstance(outcome, Failed):
        assert not outcome.counts
    else:
        assert fault is Fault.GARBAGE
        assert isinstance(outcome, Unknown)


async def test_a_provider_that_is_not_there_was_not_called(server: ProviderServer) -> None:
    """A refused connection is Failed: the same key may be called again without a question."""
    provider = HttpProvider(settings_for(server))
    await server.stop()
    assert isinstance(await charge(provider, Wanted(new_id())), Failed)
    assert isinstance(await charged(provider, Wanted(new_id())), Failed)
    await server.start()
    assert isinstance(await charge(provider, Wanted(new_id())), Delivered)
    await provider.close()


async def test_more_calls_than_connections_wait_and_then_fail_uncounted(
    server: ProviderServer,
) -> None:
    """The bulkhead: a call that found no connection was not made, and is no attempt."""
    limits = {"connections_max": 1, "pool_wait_seconds": 0.05, "timeout_seconds": 30.0}
    provider = HttpProvider(settings_for(server, **limits))
    server.faults.append(Fault.HANG_BEFORE_WORK)
    hanging = asyncio.create_task(charge(provider, Wanted(new_id())))

    async def taken() -> bool:
        return len(server.asked) == 1

    await eventually(taken)
    outcome = await charge(provider, Wanted(new_id()))
    assert isinstance(outcome, Failed)
    assert not outcome.counts
    assert len(server.asked) == 1
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    await provider.close()


async def test_an_answer_about_other_money_is_not_believed(
    server: ProviderServer, provider: HttpProvider
) -> None:
    """A capture of another amount than asked waits for an operator: it is neither yes nor no."""
    wanted = Wanted(new_id())
    server.reply = lambda asked: _other_amount(type(server).reply(server, asked))  # type: ignore[method-assign] # a provider that errs
    outcome = await charge(provider, wanted)
    assert isinstance(outcome, Unknown)
    assert "29.99 EUR" in outcome.reason
    told = await charged(provider, wanted)
    assert isinstance(told, Unknown)
    assert "told of 2999 EUR in place of 29.99 EUR" in told.reason
    for answer in (await refund(provider, wanted), await refunded(provider, wanted)):
        assert isinstance(answer, Unknown)


async def test_other_money_than_was_asked_is_parked_however_often_it_is_asked(
    server: ProviderServer, provider: HttpProvider
) -> None:
    """Through the deliverer: 2999 taken in place of 29.99 never stands in our books as paid."""
    till = Till(provider, attempts_max=3)
    wanted = Wanted(new_id())
    server.reply = lambda asked: _other_amount(type(server).reply(server, asked))  # type: ignore[method-assign] # a provider that errs

    async def ended() -> bool:
        return bool(till.settled) or till.rows.rows[0].state is DeliveryState.PARKED

    async with till.open():
        await till.owe(wanted)
        await eventually(ended)
    assert not till.settled
    assert [asked.method for asked in server.asked] == ["POST", "GET", "GET"]
    assert "2999 EUR" in till.rows.rows[0].reason


def _other_amount(reply: Any) -> Any:  # noqa: ANN401 - a Reply
    return replace(reply, body=reply.body.replace(b"29.99", b"2999"))


async def test_a_wrong_token_refuses_no_order(server: ProviderServer) -> None:
    """Bad settings are an outage of ours: no customer is told that the payment was refused."""
    server._token = "another"  # noqa: S105 - not a secret
    provider = HttpProvider(settings_for(server))
    for outcome in (
        await charge(provider, Wanted(new_id())),
        await charged(provider, Wanted(new_id())),
    ):
        assert isinstance(outcome, Failed)
        assert "401" in outcome.reason
        assert "token" in outcome.reason
    await provider.close()


@pytest.mark.parametrize("body", [b"", b"<html>Not here</html>", b'{"code": "no_such_route"}'])
async def test_a_404_of_something_between_us_is_no_not_found(
    server: ProviderServer, provider: HttpProvider, body: bytes
) -> None:
    """Only the provider's own word says that a key never came; a wrong path would charge twice."""
    server.reply = lambda asked: Reply(404, body)  # type: ignore[method-assign]  # noqa: ARG005 - a proxy that errs
    for outcome in (
        await charged(provider, Wanted(new_id())),
        await refunded(provider, Wanted(new_id())),
    ):
        assert isinstance(outcome, Failed)
        assert not outcome.counts


async def test_an_answer_without_an_end_is_cut_off(server: ProviderServer) -> None:
    """By its size, long before its time is over."""
    provider = HttpProvider(settings_for(server, timeout_seconds=60.0))
    server.faults.append(Fault.ENDLESS)
    outcome = await charge(provider, Wanted(new_id()))
    assert isinstance(outcome, Unknown)
    assert "more than 65536 bytes" in outcome.reason
    await provider.close()


async def test_tls_is_checked_against_the_given_authority(certificate: Certificate) -> None:
    """With the file of its authority the provider is trusted, without it nothing is sent."""
    server = ProviderServer(new_id=new_id)
    server.tls = certificate.server_context()
    async with server:
        trusting = HttpProvider(settings_for(server, ca_file=str(certificate.file)))
        strange = HttpProvider(settings_for(server))
        assert isinstance(await charge(strange, Wanted(new_id())), Failed)
        assert not server.asked
        assert isinstance(await charge(trusting, Wanted(new_id())), Delivered)
        await trusting.close()
        await strange.close()


async def test_a_pending_charge_is_asked_about_until_it_ends(
    server: ProviderServer, provider: HttpProvider
) -> None:
    """Pending is Unknown; its end is the provider's word, one way or the other."""
    one, other = Wanted(new_id()), Wanted(new_id())
    server.pends |= {str(one.order_id), str(other.order_id)}
    assert isinstance(await charge(provider, one), Unknown)
    assert isinstance(await charged(provider, one), Unknown)
    server.decide(one.key, "captured")
    assert isinstance(await charged(provider, one), Delivered)
    await charge(provider, other)
    server.decide(other.key, "declined", "Card expired")
    assert await charged(provider, other) == Refused("payment_refused", "Card expired")


async def test_nothing_of_the_adapter_blocks_the_event_loop(
    server: ProviderServer, provider: HttpProvider
) -> None:
    """Charge, refund and questions, with a fault between them, use the loop's sockets alone."""
    wanted = Wanted(new_id())
    with no_blocking_calls():
        server.faults.append(Fault.DROP_AFTER_WORK)
        assert isinstance(await charge(provider, wanted), Unknown)
        assert isinstance(await charged(provider, wanted), Delivered)
        assert isinstance(await refund(provider, wanted), Delivered)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "ftp://pay"}, "give http(s)://"),
        ({"url": "http://pay.example", "token": "t"}, "use https"),
        ({"url": "https://pay.example", "connect_seconds": 9.0}, "at most timeout_seconds"),
        ({"url": "https://pay.example", "connections_max": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(fields: Any, words: str) -> None:  # noqa: ANN401 - fields of settings
    """And a token is never shown."""
    with pytest.raises(ConfigurationError, match=words.replace("(", r"\(").replace(")", r"\)")):
        ClientSettings(**fields)
    assert "secret" not in repr(ClientSettings(url="https://pay", token="secret"))  # noqa: S106 - shown nowhere


class Till:
    """A deliverer of charges over the adapter, its rows in memory, in real time."""

    def __init__(self, provider: HttpProvider, *, attempts_max: int = 40) -> None:
        service = MemoryService(CODEC)
        self.clock = SystemClock()
        self.ports = replace(service.ports, clock=self.clock)
        self.rows = MemoryDeliveries(service.database, self.clock)
        self.settled: dict[str, Settlement] = {}
        calls = ChargeCalls(provider)
        self.charges = Deliverer(
            CHARGE,
            ports=self.ports,
            deliveries=self.rows,
            call=calls.call,
            query=calls.query,
            settled=self._settled,
            policy=DeliveryPolicy(
                timeout_seconds=1.0,
                margin_seconds=0.05,
                lease_seconds=10.0,
                uncounted_seconds=0.02,
                attempts_max=attempts_max,
                backoff=Backoff(base_seconds=0.02, cap_seconds=0.1),
            ),
        )

    async def _settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        del unit
        self.settled |= {delivery.key: settlement for delivery, settlement in settled}

    async def owe(self, *many: Wanted) -> None:
        """Commit charges."""
        owed = [
            Delivery(
                id=new_id(),
                kind=CHARGE,
                key=each.key,
                request=msgspec.json.encode(
                    ChargeRequest(each.order_id, new_id(), each.amount, each.currency)
                ),
            )
            for each in many
        ]
        async with self.ports.database.transaction() as transaction:
            await self.charges.owe(self.ports.unit(transaction), owed)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the deliverer while the block runs."""
        task = asyncio.create_task(self.charges.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_fault_ends_in_one_capture(
    server: ProviderServer, provider: HttpProvider
) -> None:
    """A charge for each fault, through the deliverer: asked about where unknown, captured once."""
    till = Till(provider)
    orders = [Wanted(new_id()) for _ in Fault]
    server.faults.extend(Fault)
    async with till.open():
        await till.owe(*orders)

        async def all_settled() -> bool:
            return len(till.settled) == len(orders)

        await eventually(all_settled)
    assert all(isinstance(each, Delivered) for each in till.settled.values())
    assert server.captured == len(orders)
    for order in orders:
        mine = [a.method for a in server.asked if _names(a, order)]
        first, *_, last = mine
        assert first == "POST"
        assert mine.count("POST") <= 2 or last == "GET"


def _names(asked: Any, order: Wanted) -> bool:  # noqa: ANN401 - an Asked
    return order.key in asked.path or asked.headers.get("idempotency-key") == order.key
