"""What an operator's tool on this machine (bench, seed, demo) shows the services.

It is the token that the services show one another: it does not expire during a long run, and a
foreign issuer need not know it. Customers' tokens come from `/api/v1/auth/login`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.chosen import DATABASE, chosen
from waybill.platform.databases import own_databases
from waybill.platform.edge_choice import asks_for_tokens
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from waybill.platform.settings import Settings


CALLER: Final = "waybill-services"
"""Whom that token names."""


def operator_token(settings: Settings) -> str:
    """The token of this platform; "" where nobody is asked for one, or nothing ever ran.

    Raises ConfigurationError without SERVICES_TOKEN on databases of the user's own.
    """
    if not asks_for_tokens(settings, chosen(settings)):
        return ""
    # Most platforms ask for none: they need not wait for its libraries.
    from waybill.platform.edge_settings import services_token  # noqa: PLC0415

    own = own_databases()
    if own is None and not (settings.data_directory / DATABASE).exists():
        return ""
    token = services_token(own or EmbeddedPostgres(settings.data_directory))
    if not token:
        raise ConfigurationError(
            "the services ask for a token: set SERVICES_TOKEN (or SERVICES_TOKEN_FILE) to theirs"
        )
    return token


def operator_headers(settings: Settings) -> dict[str, str]:
    """The same as headers of every request."""
    token = operator_token(settings)
    return {"Authorization": f"Bearer {token}"} if token else {}
