"""Which payment provider is used is said by the environment, and no secret is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.commerce.payments.outside import ProviderSettings
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

URL = {"PAYMENT_PROVIDER_URL": "https://pay.example"}
SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def test_without_an_address_it_is_the_simulator() -> None:
    """An empty value counts as none, as compose files write them."""
    assert ProviderSettings.from_environment({"PAYMENT_PROVIDER_URL": " "}) is None


def test_events_call_it_by_the_name_that_it_is_given() -> None:
    """Else by how it is reached."""
    named = ProviderSettings.from_environment({**URL, "PAYMENT_PROVIDER_NAME": "Stripe"})
    unnamed = ProviderSettings.from_environment(URL)
    assert named is not None
    assert unnamed is not None
    assert (named.name, unnamed.name) == ("Stripe", "http")


def test_token_and_secrets_are_read_and_never_shown(tmp_path: Path) -> None:
    """The token from its file; of webhooks the new secret and the old one."""
    file = tmp_path / "token"
    file.write_text("very secret\n")
    settings = ProviderSettings.from_environment(
        {
            **URL,
            "PAYMENT_PROVIDER_TOKEN_FILE": str(file),
            "PAYMENT_WEBHOOK_SECRETS": f"{SECRET}, {SECRET}",
        }
    )
    assert settings is not None
    assert settings.client is not None
    assert (settings.client.url, settings.client.token) == ("https://pay.example", "very secret")
    assert settings.webhooks is not None
    assert len(settings.webhooks.keys) == 2
    assert "secret" not in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PAYMENT_WEBHOOK_SECRETS": SECRET}, "do nothing without PAYMENT_PROVIDER_URL"),
        ({**URL, "PAYMENT_WEBHOOK_SECRETS": "short"}, "webhook secret"),
        ({"PAYMENT_PROVIDER_URL": "pay.example"}, "give http"),
        ({**URL, "PAYMENT_PROVIDER_NAME": "my bank"}, "PAYMENT_PROVIDER_NAME=my bank: .*stripe"),
        (
            {"PAYMENT_PROVIDER": "shop:make", "PAYMENT_PROVIDER_NAME": "shop"},
            "PAYMENT_PROVIDER_NAME do nothing without PAYMENT_PROVIDER_URL",
        ),
        ({**URL, "PAYMENT_PROVIDER": "shop:make"}, "are both set"),
        (
            {"PAYMENT_PROVIDER": "shop:make", "PAYMENT_PROVIDER_TOKEN": "a"},
            "PAYMENT_PROVIDER_TOKEN do nothing without PAYMENT_PROVIDER_URL",
        ),
        ({**URL, "PAYMENT_PROVIDER_TOKEN_FILE": "/nowhere"}, "cannot be read"),
        (
            {**URL, "PAYMENT_PROVIDER_TOKEN": "a", "PAYMENT_PROVIDER_TOKEN_FILE": "/b"},
            "are both set",
        ),
    ],
)
def test_what_cannot_work_is_told_at_the_start(environment: dict[str, str], words: str) -> None:
    """In a line that names the setting."""
    with pytest.raises(ConfigurationError, match=words):
        ProviderSettings.from_environment(environment)
