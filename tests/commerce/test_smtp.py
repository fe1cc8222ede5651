"""Mail against a real SMTP server: what it answers decides, and a repeat can be recognised."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from dataclasses import replace
from email import message_from_bytes
from email.policy import default as modern
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from tests.blocking import no_blocking_calls
from tests.commerce.support import NOW
from tests.messaging.ledger import CODEC, Copied

from waybill.commerce.notifications.domain import Notification
from waybill.commerce.notifications.handlers import EMAIL, EmailCalls, NotificationHandler
from waybill.commerce.notifications.mailer import Email
from waybill.commerce.notifications.smtp import SmtpMailer, SmtpSettings
from waybill.messaging.adapters.memory import MemoryDeliveries
from waybill.messaging.adapters.memory.deliveries import DeliveryState
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Failed, Refused, Unknown
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.deliverer import Deliverer
from waybill.messaging.runtime.delivery import DeliveryPolicy
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from ssl import SSLContext

    from tests.commerce.certificate import Certificate

ADDRESS = "ana@customers.example"
PASSWORD = str(new_id())


class Post:
    """A mail server: what it took, and how it is to answer next."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.answers: dict[str, list[str]] = {"MAIL": [], "RCPT": [], "DATA": []}
        self.after_data: list[str] = []
        """`drop` or `hang` once the mail is taken."""
        self.greetings: list[str | None] = []
        self.port = 0

    async def handle_MAIL(  # noqa: N802 - the library's name and signature
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, options
        self.greetings.append(session.host_name)
        envelope.mail_from = address
        return self._next("MAIL")

    async def handle_RCPT(  # noqa: N802 - the library's name and signature
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        answer = self._next("RCPT")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        del session
        answer = self._next("DATA")
        if answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            self.taken.append(content)
        fault = self.after_data.pop(0) if self.after_data else ""
        if fault == "drop":
            assert server.transport is not None
            server.transport.abort()  # type: ignore[attr-defined] # a transport of asyncio has it
        if fault == "hang":
            await asyncio.Event().wait()
        return answer

    def _next(self, command: str) -> str:
        waiting = self.answers[command]
        return waiting.pop(0) if waiting else "250 OK"

    @property
    def message_ids(self) -> list[str]:
        """Of the mails that it took, in order."""
        return [message_from_bytes(each)["Message-ID"] for each in self.taken]


@contextlib.asynccontextmanager
async def listening(
    post: Post,
    *,
    implicit_tls: SSLContext | None = None,
    **options: Any,  # noqa: ANN401 - of the library
) -> AsyncIterator[Post]:
    """The server on a free port, in this event loop."""
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # it does not see TLS beneath it
            connections.append(SMTP(post, hostname="post.example", loop=loop, **options))
        return connections[-1]

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=implicit_tls)
    post.port = server.sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        server.close()
        for connection in connections:
            task = connection._handler_coroutine
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    """A server without TLS and passwords."""
    async with listening(Post()) as post:
        yield post


def an_email(**fields: Any) -> Email:  # noqa: ANN401 - fields of an Email
    """A mail about an order."""
    order_id = new_id()
    given: dict[str, Any] = {
        "message_id": f"<{order_id}.OrderConfirmed@waybill>",
        "order_id": order_id,
        "kind": "OrderConfirmed",
        "text": f"Order {order_id} has been confirmed <thanks & regards>.",
        "log_line": "[EMAIL]",
    }
    return Email(**(given | fields))


async def known(_: Email) -> str | None:
    """Everybody's address."""
    return ADDRESS


def mailer_for(
    post: Post,
    *,
    addresses: Callable[[Email], Any] = known,
    **fields: Any,  # noqa: ANN401 - of the settings
) -> SmtpMailer:
    """A mailer for that server."""
    given: dict[str, Any] = {
        "tls": "none",
        "sender": "Shop <orders@shop.example>",
        "timeout_seconds": 0.4,
    }
    settings = SmtpSettings(host="127.0.0.1", port=post.port, **(given | fields))
    return SmtpMailer(settings, addresses=addresses, now=lambda: NOW)


async def test_a_mail_arrives_as_it_is_meant(post: Post) -> None:
    """Sender, customer, text and HTML, and headers that keep answering machines quiet."""
    email = an_email(subject="Your order")
    assert await mailer_for(post).send(email) == Delivered(email.message_id.encode())
    (taken,) = post.taken
    message = message_from_bytes(taken, policy=modern)
    assert message["From"] == "Shop <orders@shop.example>"
    assert message["To"] == ADDRESS
    assert message["Subject"] == "Your order"
    assert message["Message-ID"] == email.message_id
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == NOW
    text, page = message.iter_parts()
    assert text.get_content().strip() == email.text
    assert "&lt;thanks &amp; regards&gt;" in page.get_content()


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
async def test_a_permanent_no_to_the_mail_is_final(post: Post, command: str) -> None:
    """5xx: refused, with the server's words and without the customer's address (I48)."""
    post.answers[command].append(f"550 No such mailbox {ADDRESS}")
    outcome = await mailer_for(post).send(an_email())
    assert outcome == Refused("smtp_550", "550 No such mailbox the address")
    assert not post.taken


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_temporary_no_is_tried_again(post: Post, command: str) -> None:
    """4xx: nothing was taken, later it may be."""
    post.answers[command].append("451 Try again later")
    assert isinstance(await mailer_for(post).send(an_email()), Failed)
    assert isinstance(await mailer_for(post).send(an_email()), Delivered)


@pytest.mark.parametrize(
    ("command", "answer"),
    [("MAIL", "550 Sender not allowed"), ("RCPT", "530 Authentication required")],
)
async def test_a_no_to_our_settings_refuses_no_mail(post: Post, command: str, answer: str) -> None:
    """A wrong sender or a missing password is ours to mend: the mail waits, and we are told."""
    post.answers[command].append(answer)
    outcome = await mailer_for(post).send(an_email())
    assert isinstance(outcome, Failed)
    assert "check SMTP_*, FROM_EMAIL" in outcome.reason


@pytest.mark.parametrize("fault", ["drop", "hang"])
async def test_an_answer_that_is_lost_leaves_it_unknown(post: Post, fault: str) -> None:
    """P9: it may have arrived; the repeat has the same Message-ID."""
    email = an_email()
    post.after_data.append(fault)
    mailer = mailer_for(post)
    assert isinstance(await mailer.send(email), Unknown)
    assert isinstance(await mailer.send(email), Delivered)
    assert post.message_ids == [email.message_id] * 2


@pytest.mark.parametrize("greeting", [b"421 Too busy\r\n", b"554 Not for you\r\n", b"", b"hm\r\n"])
async def test_a_server_that_does_not_greet_took_nothing(greeting: bytes) -> None:
    """Closed, busy, or none of its trade: Failed, whatever it says."""

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    post = Post()
    post.port = server.sockets[0].getsockname()[1]
    assert isinstance(await mailer_for(post).send(an_email()), Failed)
    server.close()
    await server.wait_closed()
    assert isinstance(await mailer_for(post).send(an_email()), Failed)


@pytest.mark.parametrize("address", [None, "", "ana@x\r\nBcc: all@x", "ånå@x"])
async def test_a_customer_without_a_usable_address_is_visibly_not_told(
    post: Post, address: str | None
) -> None:
    """C38: the notification is refused and the order is not; nothing is smuggled into headers."""

    async def addresses(_: Email) -> str | None:
        return address

    outcome = await mailer_for(post, addresses=addresses).send(an_email())
    assert isinstance(outcome, Refused)
    assert not post.taken


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_with_tls_and_a_password_it_goes_through(certificate: Certificate, tls: str) -> None:
    """Both kinds of TLS; a wrong password is our fault, an unknown certificate ends it."""

    def knows(_server: Any, _session: Any, _envelope: Any, _way: str, given: Any) -> AuthResult:  # noqa: ANN401 - the library's signature
        good = isinstance(given, LoginPassword) and given.password == PASSWORD.encode()
        return AuthResult(success=good, handled=False)

    options: dict[str, Any] = {"authenticator": knows, "auth_required": True}
    context = certificate.server_context()
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    else:
        options |= {"auth_require_tls": False}
    implicit = context if tls == "implicit" else None
    async with listening(Post(), implicit_tls=implicit, **options) as post:
        given: dict[str, Any] = {"tls": tls, "ca_file": str(certificate.file), "user": "apikey"}
        given |= {"timeout_seconds": 4.0}
        good = mailer_for(post, password=PASSWORD, **given)
        assert isinstance(await good.send(an_email()), Delivered)
        outcome = await mailer_for(post, password="another", **given).send(an_email())  # noqa: S106 - wrong on purpose
        assert isinstance(outcome, Failed)
        assert "check SMTP_*" in outcome.reason
        strange = mailer_for(post, password=PASSWORD, **(given | {"ca_file": ""}))
        assert isinstance(await strange.send(an_email()), Failed)
        assert len(post.taken) == 1


async def test_nothing_of_it_blocks_the_event_loop(post: Post) -> None:
    """And it greets by the sender's domain: this machine's name is neither looked up nor told."""
    mailer = mailer_for(post)
    with no_blocking_calls():
        assert isinstance(await mailer.send(an_email()), Delivered)
    assert post.greetings == ["shop.example"]


async def test_the_deliverer_repeats_until_the_server_takes_it(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    """Temporary, lost, taken: one row, one Message-ID; permanent: visibly failed (I43, I44)."""
    service = MemoryService(CODEC)
    ports = replace(service.ports, clock=SystemClock())
    rows = MemoryDeliveries(service.database, SystemClock())
    calls = EmailCalls(mailer_for(post))
    emails = Deliverer(
        EMAIL,
        ports=ports,
        deliveries=rows,
        call=calls.call,
        settled=calls.settled,
        policy=DeliveryPolicy(backoff=Backoff(base_seconds=0.02, cap_seconds=0.1)),
    )
    handler = NotificationHandler(emails=emails, new_id=new_id)
    first = Notification(new_id(), "OrderConfirmed", "confirmed", "")
    message = service.message(Copied("any", 1), key="any")
    post.answers["RCPT"] = ["451 Greylisted", "250 OK", "250 OK", "550 Gone"]
    post.after_data = ["drop"]
    task = asyncio.create_task(emails.run())

    async def settle(notification: Notification, state: DeliveryState) -> None:
        async with ports.database.transaction() as transaction:
            await emails.owe(ports.unit(transaction), [handler._delivery(notification, message)])
        async with asyncio.timeout(20):
            while not any(  # noqa: ASYNC110 - rows ring no bell
                row.delivery.key == notification.key and row.state is state for row in rows.rows
            ):
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.DEBUG, "waybill"):
        await settle(first, DeliveryState.DELIVERED)
        await settle(replace_id(first), DeliveryState.REFUSED)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert post.message_ids == [f"<{first.order_id}.OrderConfirmed@waybill>"] * 2
    assert ADDRESS not in caplog.text


def replace_id(notification: Notification) -> Notification:
    """The same about another order."""
    return Notification(new_id(), notification.kind, notification.message, notification.log_line)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SMTP_HOST": "x"}, "FROM_EMAIL"),
        ({"SMTP_HOST": "x", "FROM_EMAIL": "a@\u00e5.example"}, "FROM_EMAIL"),
        ({"SMTP_HOST": "x", "FROM_EMAIL": "a@b", "SMTP_TLS": "ssl"}, "starttls, implicit or none"),
        (
            {"SMTP_HOST": "x", "FROM_EMAIL": "a@b", "SMTP_TLS": "none", "SMTP_PASSWORD": "p"},
            "not sent without TLS",
        ),
        ({"SMTP_HOST": "x", "FROM_EMAIL": "a@b", "SMTP_PORT": "many"}, "SMTP_"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(
    environment: dict[str, str], words: str
) -> None:
    """In words that name the variable."""
    with pytest.raises(ConfigurationError, match=words):
        SmtpSettings.from_environment(environment)


def test_the_documents_variables_are_taken(tmp_path: Path) -> None:
    """SMTP_HOST, _PORT, _USER, _PASSWORD and FROM_EMAIL; the password is shown nowhere."""
    (tmp_path / "password").write_text("of a file\n")
    files = {"SMTP_PASSWORD_FILE": str(tmp_path / "password"), "FROM_EMAIL": "a@b"}
    by_file = SmtpSettings.from_environment({"SMTP_HOST": "x", **files})
    assert by_file is not None
    assert (by_file.password, by_file.port, by_file.tls) == ("of a file", 587, "starttls")
    assert SmtpSettings.from_environment({}) is None
    names = {"HOST": "smtp.example.com", "PORT": "465", "USER": "apikey", "PASSWORD": PASSWORD}
    environment = {f"SMTP_{name}": text for name, text in names.items()}
    settings = SmtpSettings.from_environment(environment | {"FROM_EMAIL": "orders@example.com"})
    assert settings is not None
    assert (settings.host, settings.port, settings.user) == ("smtp.example.com", 465, "apikey")
    assert (settings.password, settings.tls) == (PASSWORD, "implicit")
    assert PASSWORD not in repr(settings)
