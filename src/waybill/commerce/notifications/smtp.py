"""Mail by SMTP: each answer of the server becomes a verdict on the mail, or on our settings.

Permanent is only what a server says of the mail itself. From the moment in which it was handed
over, a lost answer is Unknown: the repeat has the same Message-ID (P9).
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal, Self, cast, get_args

import aiosmtplib

from waybill.commerce.notifications.mailer import Email
from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outcome import Delivered, Failed, Refused, Unknown
from waybill.messaging.secret import secret_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from waybill.messaging.core.outcome import Outcome

Tls = Literal["starttls", "implicit", "none"]
Addresses = Callable[[Email], Awaitable[str | None]]
"""The customer's address, looked up when the mail is sent; None if there is none (C38)."""

IMPLICIT_TLS_PORT = 465
PERMANENT = 500
OUR_SETTINGS = {530, 534, 535, 538}
"""Codes that speak of authentication and encryption, not of a mail (RFC 4954)."""
GOODBYE_SECONDS = 0.5
DETAIL_CHARS_MAX = 200


@dataclass(frozen=True, kw_only=True)
class SmtpSettings:
    """The server, who we are there, and every limit. `timeout_seconds` is for a whole mail."""

    host: str
    sender: str
    port: int = 587
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Tls = "starttls"
    ca_file: str = ""
    timeout_seconds: float = 4.0
    connections_max: int = 16

    def __post_init__(self) -> None:
        if not self.host or "@" not in self.sender or not self.sender.isascii():
            raise ConfigurationError("mail needs SMTP_HOST, and FROM_EMAIL with an ASCII address")
        if self.tls not in get_args(Tls):
            raise ConfigurationError(f"SMTP_TLS is {self.tls!r}: starttls, implicit or none")
        if self.password and self.tls == "none":
            raise ConfigurationError("SMTP_PASSWORD is not sent without TLS: set SMTP_TLS")
        if self.timeout_seconds <= 0 or self.connections_max < 1:
            raise ConfigurationError("SMTP_TIMEOUT_SECONDS and SMTP_CONNECTIONS_MAX are above 0")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """The documents' names; None without SMTP_HOST. `SMTP_PASSWORD_FILE` names a file."""
        given = {name: text for name, text in environment.items() if text}
        if "SMTP_HOST" not in given:
            return None
        try:
            port = int(given.get("SMTP_PORT", "587"))
            timeout = float(given.get("SMTP_TIMEOUT_SECONDS", "4"))
            connections = int(given.get("SMTP_CONNECTIONS_MAX", "16"))
        except ValueError as error:
            raise ConfigurationError(f"SMTP_* settings: {error}") from error
        usual = "implicit" if port == IMPLICIT_TLS_PORT else "starttls"
        return cls(
            host=given["SMTP_HOST"],
            port=port,
            user=given.get("SMTP_USER", ""),
            password=secret_of(given, "SMTP_PASSWORD"),
            sender=given.get("FROM_EMAIL", ""),
            tls=cast("Tls", given.get("SMTP_TLS", usual)),
            ca_file=given.get("SMTP_CA_FILE", ""),
            timeout_seconds=timeout,
            connections_max=connections,
        )


class SmtpMailer:
    """A `Mailer`. One connection a mail, `connections_max` of them at once."""

    def __init__(
        self, settings: SmtpSettings, *, addresses: Addresses, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._addresses = addresses
        self._now = now
        self._room = asyncio.Semaphore(settings.connections_max)
        self._trusted = (
            ssl.create_default_context(cafile=settings.ca_file or None)
            if settings.tls != "none"
            else None
        )

    async def send(self, email: Email) -> Outcome:
        """See Mailer."""
        address = await self._addresses(email)
        if not address:
            return Refused("no_contact", "The customer has left no address")
        try:
            message = self._composed(email, address)
        except ValueError:
            return Refused("invalid_address", "The customer's address cannot be written in a mail")
        if crash_points.hook is not None:
            await crash_points.hook("mail.before_send", email.message_id)
        async with self._room:
            outcome = await self._handed_over(email, address, message)
        if crash_points.hook is not None:
            await crash_points.hook("mail.after_send", email.message_id)
        return outcome

    def _composed(self, email: Email, address: str) -> bytes:
        """Raises ValueError for an address that would break out of its header."""
        message = EmailMessage(SMTP_POLICY)
        message["From"] = self._settings.sender
        message["To"] = address
        message["Subject"] = email.subject or f"Order {email.order_id}"
        message["Message-ID"] = email.message_id
        message["Date"] = format_datetime(self._now())
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(email.text)
        message.add_alternative(f"<p>{html.escape(email.text)}</p>\n", subtype="html")
        address.encode("ascii")
        return message.as_bytes()

    async def _handed_over(self, email: Email, address: str, message: bytes) -> Outcome:
        client = self._client()
        handing_over = False
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await client.connect()
                await client.mail(self._settings.sender)
                await client.rcpt(address)
                handing_over = True
                await client.data(message)
        except aiosmtplib.SMTPResponseException as error:
            return _verdict(error, address)
        except (aiosmtplib.SMTPException, OSError) as error:
            reason = f"mail server: {_cleaned(f'{type(error).__name__} {error}', address)}"
            return Unknown(reason) if handing_over else Failed(reason)
        else:
            # It has the mail, whatever becomes of the goodbye.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=GOODBYE_SECONDS)
            return Delivered(email.message_id.encode())
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.user or None,
            password=settings.password or None,
            # Given: else each connection waits for a look-up of this machine's name, and tells it.
            local_hostname=settings.sender.rpartition("@")[2].rstrip(">"),
            timeout=settings.timeout_seconds,
            use_tls=settings.tls == "implicit",
            start_tls=settings.tls == "starttls",
            tls_context=self._trusted,
        )


def _verdict(error: aiosmtplib.SMTPResponseException, address: str) -> Outcome:
    """Of the mail, if the server speaks of it; the address is never repeated (I48)."""
    said = _cleaned(f"{error.code} {error.message}", address)
    of_the_mail = isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)
    if of_the_mail and error.code >= PERMANENT and error.code not in OUR_SETTINGS:
        return Refused(f"smtp_{error.code}", said)
    if error.code >= PERMANENT:
        return Failed(f"mail server: {said} (check SMTP_*, FROM_EMAIL)")
    return Failed(f"mail server: {said}")


def _cleaned(text: str, address: str) -> str:
    return " ".join(text.replace(address, "the address").split())[:DETAIL_CHARS_MAX]
