"""Which payment provider is used: one over HTTP where the environment names it, with its webhooks.

Secrets come from the environment or from files; none is shown anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.payments.webhook import WebhookSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import FILE, secret_of

if TYPE_CHECKING:
    from collections.abc import Mapping

URL, TOKEN, CA_FILE, SECRETS = (
    "PAYMENT_PROVIDER_URL",
    "PAYMENT_PROVIDER_TOKEN",
    "PAYMENT_PROVIDER_CA_FILE",
    "PAYMENT_WEBHOOK_SECRETS",
)


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """Where the provider is, and whose webhooks are believed (None: nobody's)."""

    client: ClientSettings = field(repr=False)
    webhooks: WebhookSettings | None = field(default=None, repr=False)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, connections_max: int = 64
    ) -> Self | None:
        """None without PAYMENT_PROVIDER_URL: then the simulator is used.

        Raises ConfigurationError for what would do nothing, or cannot be read.
        """
        given = {name: text.strip() for name, text in environment.items() if text.strip()}
        if URL not in given:
            useless = (TOKEN, TOKEN + FILE, CA_FILE, SECRETS, SECRETS + FILE)
            if lonely := [name for name in useless if name in given]:
                raise ConfigurationError(f"{', '.join(lonely)} do nothing without {URL}")
            return None
        listed = secret_of(given, SECRETS).split(",")
        secrets = tuple(each.strip() for each in listed if each.strip())
        return cls(
            client=ClientSettings(
                url=given[URL],
                token=secret_of(given, TOKEN).strip(),
                ca_file=given.get(CA_FILE, ""),
                connections_max=connections_max,
            ),
            webhooks=WebhookSettings(secrets=secrets) if secrets else None,
        )
