"""Who the platform talks to outside: nobody by default, and a mistake is told before the start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from waybill.blueprints import choreography
from waybill.commerce.caching.settings import RedisSettings
from waybill.commerce.notifications.mailer import LogMailer
from waybill.commerce.notifications.smtp import SmtpMailer
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.service import MessagingService
from waybill.platform.caches import NO_CACHES, caches_of
from waybill.platform.metrics import ServiceMetrics
from waybill.platform.outside import NOTHING_OUTSIDE, Outside

if TYPE_CHECKING:
    from waybill.commerce.notifications.mailer import Email

GIVEN = {
    "SMTP_HOST": "post.example",
    "FROM_EMAIL": "orders@shop.example",
    "SMTP_CONNECTIONS_MAX": "3",
    "REDIS_HOST": "cache",
}


async def nowhere(_: Email) -> str | None:
    """Nobody's address."""
    return None


def a_service() -> MessagingService:
    """One that is not connected."""
    return MessagingService("order-service", url="postgresql://", codec=choreography.codec())


def test_nobody_is_asked_by_default() -> None:
    """Empty variables count as none, as compose files write them."""
    for environment in ({}, dict.fromkeys(GIVEN, ""), {"REDIS_PORT": "6379", "SMTP_PORT": "587"}):
        outside = Outside.from_environment(environment)
        assert outside == NOTHING_OUTSIDE
        assert isinstance(outside.mailer(nowhere, SystemClock().now), LogMailer)
        assert outside.mails_at_once(500) == 500


def test_the_documents_names_are_taken() -> None:
    """R269: a mail server by SMTP_HOST and FROM_EMAIL, a cache by REDIS_HOST."""
    outside = Outside.from_environment(GIVEN)
    assert outside.redis == RedisSettings(url="redis://cache:6379/0")
    assert isinstance(outside.mailer(nowhere, SystemClock().now), SmtpMailer)
    assert outside.mails_at_once(500) == 3
    assert outside.mails_at_once(2) == 2


@pytest.mark.parametrize(
    "wrong", [{"FROM_EMAIL": ""}, {"SMTP_PORT": "x"}, {"REDIS_PORT": "x"}, {"SMTP_TLS": "maybe"}]
)
def test_a_mistake_is_told_at_once(wrong: dict[str, str]) -> None:
    """Not by the first mail or request."""
    with pytest.raises(ConfigurationError):
        Outside.from_environment(GIVEN | wrong)


async def test_a_platform_without_a_cache_has_none_in_its_way() -> None:
    """What a service is built of is what it was: the default pays nothing."""
    metrics = ServiceMetrics("order-service", version="1")
    caches = await caches_of(None, a_service(), metrics)
    assert caches is NO_CACHES
    anything: Any = object()
    passed: list[Any] = [
        caches.remembering("order-service", anything),
        caches.intake(anything),
        caches.products(anything),
    ]
    assert all(each is anything for each in passed)
    assert caches.checks == {}
    await caches.close()


async def test_a_client_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    for name in ("redis_cache", "redis_link"):
        monkeypatch.delitem(sys.modules, f"waybill.commerce.caching.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    metrics = ServiceMetrics("order-service", version="1")
    with pytest.raises(ConfigurationError, match=r"waybill\[redis\]"):
        await caches_of(RedisSettings(url="redis://cache"), a_service(), metrics)
