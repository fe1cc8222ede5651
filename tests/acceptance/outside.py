"""A real mail server and a real Redis for platforms, and what shows of them."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

from tests.acceptance.processes import wait_for

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session
    from tests.acceptance.processes import PlatformProcess
    from tests.redis_server import RedisServer

ORDER, INVENTORY, NOTIFICATION = 1, 3, 4
ADDRESS = "ana@customers.example"


class Mailbox:
    """What a mail server took: recipient and Message-ID. It may break off once it has a mail."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.subjects: set[str] = set()
        self.break_off = 0
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take it."""
        del session
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content)
        self.taken.append((envelope.rcpt_tos[0], str(mail["Message-ID"])))
        self.subjects.add(str(mail["Subject"]))
        if self.break_off:
            self.break_off -= 1
            assert server.transport is not None
            server.transport.abort()  # type: ignore[attr-defined] # a transport of asyncio has it
        return "250 OK"

    def about(self, order_id: str) -> list[tuple[str, str]]:
        """The mails of one order."""
        return [each for each in self.taken if f"<{order_id}." in each[1]]


def environment(redis_server: RedisServer, mailbox: Mailbox) -> dict[str, str]:
    """Of a platform that has both."""
    return {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_server.port),
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mailbox.port),
        "SMTP_TLS": "none",
        "FROM_EMAIL": "orders@shop.example",
    }


def contact(platform: PlatformProcess, user_id: str) -> str:
    """The address of a contact."""
    return f"{platform.url(NOTIFICATION)}/api/v1/contacts/{user_id}"


def told(platform: PlatformProcess, order_id: str) -> str:
    """Wait until the notification about an order is settled; its status."""
    url = f"{platform.url(NOTIFICATION)}/api/notifications?orderId={order_id}"

    def settled() -> str | None:
        items = platform.client.get(url).json()["items"]
        return next((each["status"] for each in items if each["status"] != "PENDING"), None)

    return wait_for(settled, 30, f"somebody is told of {order_id}")


def asked(platform: PlatformProcess, service: int, result: str) -> float:
    """How often a service's cache gave this result."""
    text = platform.client.get(f"{platform.url(service)}/metrics").text
    found = re.search(rf'^cache_requests_total{{.*result="{result}"}} (\S+)$', text, re.MULTILINE)
    assert found, text
    return float(found[1])


def cache_health(platform: PlatformProcess, service: int = ORDER) -> str:
    """What health says of the cache; the service is ready whatever that is."""
    answer = platform.client.get(f"{platform.url(service)}/readyz")
    assert answer.status_code == 200, answer.text
    component: dict[str, Any] = answer.json()["components"]["cache"]
    assert component["status"] == "UP"
    return str(component["details"]["state"])
