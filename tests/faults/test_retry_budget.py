"""An ailing payment provider, on a real platform: it is spared, and everybody pays in the end."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import uvloop
from tests.acceptance.processes import free_port_base, wait_for
from tests.acceptance.shop import Provider, Surroundings
from tests.acceptance.stages import CHOREOGRAPHY
from tests.faults.site import END_SECONDS, opened

from waybill.commerce.payments.domain import CHARGE
from waybill.commerce.testing.http_server import Reply
from waybill.commerce.testing.provider_server import CHARGES
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.retry_budget import RetryBudgetPolicy
from waybill.operations.generator import Generator
from waybill.operations.history import HistoryWriter
from waybill.operations.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.site import Site

    from waybill.commerce.testing.http_server import Asked
    from waybill.operations.plan import Result

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

ORDERS_A_SECOND, AILING_SECONDS = 20, 60.0
FAILING = 0.3
TOO_MANY, UNAVAILABLE = 429, 503
"""Half of the failures say that nothing happened, half of them leave that open."""
TOKEN = secrets.token_hex(16)
POLICY = RetryBudgetPolicy()
CAPTURED = "SELECT id FROM app.orders WHERE status = 'CONFIRMED'"


class Ailing(Provider):
    """Fails three of ten charges before it has done anything, and counts the calls."""

    def __init__(self) -> None:
        super().__init__(new_id=new_id, token=TOKEN)
        self.fails = True
        self.calls: defaultdict[str, int] = defaultdict(int)
        """Of each charge, while it was ailing."""
        self.captures = 0
        """Calls that worked meanwhile."""
        self.price = 0.0
        """What the retries cost that were made meanwhile."""
        self._unclear: set[str] = set()
        self._draw = Random(7).random  # noqa: S311 - the same failures in each run

    def reply(self, asked: Asked) -> Reply:
        """See TryServer."""
        if not self.fails or asked.method != "POST" or asked.path != CHARGES:
            return super().reply(asked)
        key = asked.headers["idempotency-key"]
        self.calls[key] += 1
        if self.calls[key] > 1:
            unclear = key in self._unclear
            self.price += POLICY.timeout_tokens if unclear else POLICY.retry_tokens
        if self._draw() >= FAILING:
            self.captures += 1
            return super().reply(asked)
        status = TOO_MANY if self._draw() < 1 / 2 else UNAVAILABLE
        if status == UNAVAILABLE:
            self._unclear.add(key)
        return Reply(status)


@pytest.fixture(scope="module")
def provider() -> Iterator[Ailing]:
    """It listens."""
    surroundings = Surroundings(token=TOKEN)
    surroundings.provider = ailing = Ailing()
    with surroundings:
        yield ailing


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path, provider: Ailing) -> Iterator[Site]:
    """A platform that pays there."""
    directory = Path(tempfile.mkdtemp(prefix="ailing-", dir=session_directory))
    directory.chmod(0o711)
    CHOREOGRAPHY.copy(provisioned_data, directory / "data")
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    environment = {"PAYMENT_PROVIDER_URL": provider.url, "PAYMENT_PROVIDER_TOKEN_FILE": str(token)}
    with opened(directory / "data", port_base=free_port_base(), environment=environment) as made:
        yield made


def order_on(site: Site) -> Result:
    """Orders at a rate, as customers place them whatever becomes of them."""
    plan = Plan(
        rate=ORDERS_A_SECOND,
        seconds=AILING_SECONDS,
        connections=8,
        port_base=site.order.port_base,
    )

    async def run() -> Result:
        with HistoryWriter(site.data.parent / "history.jsonl") as writer:
            return await Generator(plan, history=writer).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def test_an_ailing_provider_is_called_little_more_than_is_owed(
    site: Site, provider: Ailing
) -> None:
    """Retries cost no more than the bucket held, got by and by, and for what worked (5 or 10).

    So calls per owed call are at most 1.2, and what the bucket held and got; when it is well again
    every order ends in time, each with one charge.
    """
    began = time.monotonic()
    result = order_on(site)
    left = site.figure("payment", "retry_budget_tokens", name=CHARGE)
    provider.fails = False
    healed = time.monotonic()
    passed, owed, calls = healed - began, len(provider.calls), sum(provider.calls.values())
    assert result.accepted > ORDERS_A_SECOND * AILING_SECONDS / 2, result.refused
    had = POLICY.tokens_max + POLICY.tokens_per_second * passed
    allowed = 1 + POLICY.success_tokens / POLICY.retry_tokens + had / POLICY.retry_tokens / owed
    print(  # noqa: T201 - pytest shows it on demand
        f"\n{owed} charges in {passed:.0f} s, {calls} calls: {calls / owed:.3f} a charge, at most "
        f"{allowed:.3f}; retries took {provider.price:.0f} of "
        f"{had + POLICY.success_tokens * provider.captures:.0f} tokens, {left:.0f} left"
    )
    assert provider.price <= had + POLICY.success_tokens * provider.captures
    assert calls / owed <= allowed
    assert calls > owed * 1.05, "retries are made"
    assert left < POLICY.tokens_max / 2, "it was not the budget that held them back"

    wait_for(site.all_ended, END_SECONDS, "all orders have ended")
    print(f"settled {time.monotonic() - healed:.0f} s after it was well again")  # noqa: T201 - as above
    site.assert_clean(customers=False)
    confirmed = {str(row["id"]) for row in site.rows("order", CAPTURED)}
    assert len(confirmed) == result.accepted
    assert set(provider.charges) == confirmed
