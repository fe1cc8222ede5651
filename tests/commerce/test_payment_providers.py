"""The simulator, and the HTTP adapter on a real server, keep the contract of payment providers."""

from __future__ import annotations

import asyncio
import base64
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.payments.http_provider import HttpProvider
from waybill.commerce.payments.simulation import simulated_success
from waybill.commerce.payments.simulator import SimulatedProvider, SimulatorSettings
from waybill.commerce.payments.webhook import sign
from waybill.commerce.testing.payment_provider import PaymentProviderContract, Wanted, charge
from waybill.commerce.testing.payment_webhooks import PaymentWebhookContract, Sent
from waybill.commerce.testing.provider_server import ProviderServer
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.ports import SilentObserver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.commerce.support import Service

SUCCESS_RATE = 0.5
TOKEN = str(new_id())


def order_that(*, captures: bool) -> Wanted:
    """An order that the simulator captures, or declines."""
    while True:
        wanted = Wanted(new_id())
        if simulated_success(wanted.order_id, success_rate=SUCCESS_RATE) is captures:
            return wanted


class TestSimulator(PaymentProviderContract):
    """On its own ledger in PostgreSQL."""

    @pytest.fixture
    async def provider(self, provider: Service) -> AsyncIterator[SimulatedProvider]:
        """Declines half of the orders."""
        simulator = SimulatedProvider(
            provider.database,
            SimulatorSettings(success_rate=SUCCESS_RATE),
            clock=provider.clock,
            observer=SilentObserver(),
            random=lambda: 0.5,
            new_id=new_id,
        )
        tasks = [asyncio.create_task(loop.run()) for loop in simulator.loops]
        yield simulator
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @pytest.fixture
    def accepted(self) -> Callable[[], Wanted]:
        """New orders that it captures."""
        return lambda: order_that(captures=True)

    @pytest.fixture
    def declined(self) -> Wanted:
        """An order that it declines."""
        return order_that(captures=False)


class TestHttp(PaymentProviderContract):
    """Over a socket, with a token."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[ProviderServer]:
        """A provider that listens."""
        async with ProviderServer(new_id=new_id, token=TOKEN) as server:
            yield server

    @pytest.fixture
    async def provider(self, server: ProviderServer) -> AsyncIterator[HttpProvider]:
        """The adapter."""
        settings = ClientSettings(url=server.url, token=TOKEN)
        provider = HttpProvider(settings)
        yield provider
        await provider.close()

    @pytest.fixture
    def declined(self, server: ProviderServer) -> Wanted:
        """An order that it declines."""
        wanted = Wanted(new_id())
        server.declines.add(str(wanted.order_id))
        return wanted


class TestHttpWebhooks(PaymentWebhookContract):
    """Those of the server that stands for a provider."""

    @pytest.fixture
    def secret(self) -> str:
        """As a provider gives one."""
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

    @pytest.fixture
    def told(self) -> Wanted:
        """A charge."""
        return Wanted(new_id())

    @pytest.fixture
    async def sent(self, told: Wanted, secret: str) -> Sent:
        """What it sends when that was captured."""
        async with ProviderServer(new_id=new_id) as server:
            provider = HttpProvider(ClientSettings(url=server.url))
            await charge(provider, told)
            await provider.close()
            body = server.webhook("charge", told.key)
        return Sent(sign(secret, "msg_1", body, now=datetime.now(UTC)), body)  # noqa: TID251 - the provider's clock
