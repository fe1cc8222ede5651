"""Fetches an issuer's keys over HTTP: at the address given, or where its own configuration says.

Every address comes from the settings or from the issuer that they name; no token can name one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from waybill.commerce.http.client import (
    ClientSettings,
    NoAnswerError,
    NotSentError,
    OutsideClient,
)
from waybill.edge.tokens.settings import require_safe
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from waybill.edge.tokens.settings import TokenSettings

WELL_KNOWN: Final = "/.well-known/openid-configuration"


class _Configuration(msgspec.Struct):
    issuer: str
    jwks_uri: str


class KeyAddress:
    """`fetch` is what IssuerKeys asks. Raises TransientError and nothing else."""

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._url = settings.jwks_url

    async def fetch(self) -> bytes:
        """The key set as it was sent."""
        if not self._url:
            self._url = await self._discovered()
        return await self._get(self._url)

    async def _discovered(self) -> str:
        issuer = self._settings.issuer
        content = await self._get(issuer.rstrip("/") + WELL_KNOWN)
        try:
            found = msgspec.json.decode(content, type=_Configuration)
            require_safe(found.jwks_uri)
        except (msgspec.DecodeError, ConfigurationError) as error:
            raise TransientError(f"{issuer}{WELL_KNOWN} is no configuration: {error}") from error
        if found.issuer != issuer:
            raise TransientError(
                f"{issuer}{WELL_KNOWN} is of another issuer: set the issuer as it calls itself"
            )
        return found.jwks_uri

    async def _get(self, url: str) -> bytes:
        parts = urlsplit(url)
        origin = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        client = OutsideClient(ClientSettings(url=origin, ca_file=self._settings.ca_file))
        try:
            answer = await client.send("GET", parts.path or "/")
        except (NotSentError, NoAnswerError) as error:
            raise TransientError(f"{url} does not answer: {error}") from error
        finally:
            await client.close()
        if answer.status != HTTPStatus.OK:
            raise TransientError(f"{url} answers {answer.status}")
        return answer.body
