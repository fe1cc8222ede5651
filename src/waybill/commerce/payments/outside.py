"""Which payment provider is used, where the environment names one, and whose webhooks are believed.

Either one over HTTP, or a class of the user's own (`PAYMENT_PROVIDER=module:factory`).

Secrets come from the environment or from files; none is shown anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from waybill.commerce.http.client import ClientSettings
from waybill.commerce.payments.http_provider import DEFAULT_NAME
from waybill.commerce.payments.provider import is_name
from waybill.commerce.payments.webhook import WebhookSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import FILE, secret_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FACTORY, URL, NAMED, TOKEN, CA_FILE, SECRETS = (
    "PAYMENT_PROVIDER",
    "PAYMENT_PROVIDER_URL",
    "PAYMENT_PROVIDER_NAME",
    "PAYMENT_PROVIDER_TOKEN",
    "PAYMENT_PROVIDER_CA_FILE",
    "PAYMENT_WEBHOOK_SECRETS",
)


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """Where the provider is, or what makes it; whose webhooks are believed (None: nobody's)."""

    client: ClientSettings | None = field(default=None, repr=False)
    name: str = DEFAULT_NAME
    """What events call the one over HTTP."""
    factory: str = ""
    """`module:name` of what makes it, if it is a class in this process."""
    webhooks: WebhookSettings | None = field(default=None, repr=False)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, connections_max: int = 64
    ) -> Self | None:
        """None without either of them: then the simulator is used.

        Raises ConfigurationError for what would do nothing, or cannot be read.
        """
        given = {name: text.strip() for name, text in environment.items() if text.strip()}
        _refuse_useless(given)
        if URL not in given and FACTORY not in given:
            return None
        listed = secret_of(given, SECRETS).split(",")
        secrets = tuple(each.strip() for each in listed if each.strip())
        webhooks = WebhookSettings(secrets=secrets) if secrets else None
        if FACTORY in given:
            return cls(factory=given[FACTORY], webhooks=webhooks)
        name = given.get(NAMED, DEFAULT_NAME)
        if not is_name(name):
            raise ConfigurationError(
                f"{NAMED}={name}: events call the provider so; write a name such as stripe, "
                "1 to 32 letters, digits, dots, dashes and underscores"
            )
        client = ClientSettings(
            url=given[URL],
            token=secret_of(given, TOKEN).strip(),
            ca_file=given.get(CA_FILE, ""),
            connections_max=connections_max,
        )
        return cls(client=client, name=name, webhooks=webhooks)


def _refuse_useless(given: Mapping[str, str]) -> None:
    if URL in given and FACTORY in given:
        raise ConfigurationError(f"{FACTORY} and {URL} are both set: one provider takes the money")
    if URL in given:
        return
    useless = [NAMED, TOKEN, TOKEN + FILE, CA_FILE]
    if FACTORY not in given:
        useless += [SECRETS, SECRETS + FILE]
    if lonely := [name for name in useless if name in given]:
        raise ConfigurationError(f"{', '.join(lonely)} do nothing without {URL}")
