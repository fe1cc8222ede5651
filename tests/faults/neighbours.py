"""Who a platform calls outside: a mail server, a cache, a payment provider, whoever is notified.

Each is real, in this process or beside it, and goes away and comes back at the same address.
"""

from __future__ import annotations

import secrets
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from aiosmtpd.controller import Controller
from tests.acceptance.notify_target import Target
from tests.acceptance.outside import ADDRESS, Mailbox, cache_health, contact, environment
from tests.acceptance.processes import wait_for
from tests.acceptance.shop import Surroundings
from tests.redis_server import RedisServer

from waybill.blueprints.workload import customer_id
from waybill.commerce.notifications.handlers import EMAIL
from waybill.commerce.notifications.http_notify import NOTIFY
from waybill.commerce.payments.domain import CHARGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.faults.site import Site

FELT_SECONDS = 30.0
FELT_ORDERS = 12
CONTACTS: Final = {"choreography": customer_id(0), "orchestration": "usr_000"}
"""What the customer of every order is called in contacts, where a document has no addresses."""


class Neighbour(Protocol):
    """Somebody whom services call."""

    environment: Mapping[str, str]
    """By which services find them."""

    def leave(self) -> None:
        """Be gone, at once."""

    def come_back(self) -> None:
        """Be there again."""

    def is_missed(self, site: Site) -> bool:
        """Whether a service shows that it cannot reach them."""


class Mail:
    """A mail server without TLS, and a mailbox."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.environment: Mapping[str, str] = {}
        self.come_back()

    def come_back(self) -> None:
        """See Neighbour."""
        self._controller = Controller(self.mailbox, hostname="127.0.0.1", port=self.mailbox.port)
        with warnings.catch_warnings(action="ignore"):  # it may do without TLS
            self._controller.start()

    def leave(self) -> None:
        """See Neighbour."""
        self._controller.stop()

    def is_missed(self, site: Site) -> bool:
        """See Neighbour."""
        return is_open(site, "notification", EMAIL)


class Cache:
    """A Redis, which forgets everything when it dies."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.environment: Mapping[str, str] = {}

    def come_back(self) -> None:
        """See Neighbour."""
        self._server.start()

    def leave(self) -> None:
        """See Neighbour."""
        self._server.kill()

    def is_missed(self, site: Site) -> bool:
        """See Neighbour."""
        return cache_health(site.order).startswith("away")


class Provider:
    """A payment provider over HTTP, which keeps its own books."""

    def __init__(self, around: Surroundings, environment: Mapping[str, str]) -> None:
        self._around = around
        self.environment = environment

    def come_back(self) -> None:
        """See Neighbour."""
        self._around.do(self._around.provider.start())

    def leave(self) -> None:
        """See Neighbour."""
        self._around.do(self._around.provider.stop())

    def is_missed(self, site: Site) -> bool:
        """See Neighbour."""
        return is_open(site, "payment", CHARGE)


class Notified:
    """The other side of POST /notify."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.environment: Mapping[str, str] = {"NOTIFY_URL": target.url}

    def come_back(self) -> None:
        """See Neighbour."""
        self._target.start()

    def leave(self) -> None:
        """See Neighbour."""
        self._target.stop()

    def is_missed(self, site: Site) -> bool:
        """See Neighbour."""
        return is_open(site, "order", NOTIFY)


def is_open(site: Site, service: str, kind: str) -> bool:
    """Whether the breaker in front of these calls is open."""
    return site.figure(service, "circuit_breaker_state", name=kind, state="open") > 0


@contextmanager
def mail_and_cache(directory: Path) -> Iterator[dict[str, Neighbour]]:
    """Both are up."""
    mail, server = Mail(), RedisServer(directory)
    server.start()
    try:
        cache = Cache(server)
        mail.environment = environment(server, mail.mailbox)
        yield {"mail": mail, "cache": cache}
    finally:
        mail.leave()
        server.kill()


@contextmanager
def provider(directory: Path) -> Iterator[dict[str, Neighbour]]:
    """It is up."""
    token, file = secrets.token_hex(16), directory / "token"
    file.write_text(token + "\n")
    with Surroundings(token=token) as around:
        url = around.provider.url
        given = {"PAYMENT_PROVIDER_URL": url, "PAYMENT_PROVIDER_TOKEN_FILE": str(file)}
        yield {"provider": Provider(around, given)}


@contextmanager
def notified(directory: Path) -> Iterator[dict[str, Neighbour]]:
    """It is up."""
    del directory
    target = Target()
    try:
        yield {"notified": Notified(target)}
    finally:
        target.close()


@contextmanager
def nobody(directory: Path) -> Iterator[dict[str, Neighbour]]:
    """Everything is inside the platform."""
    del directory
    yield {}


NEIGHBOURS: Final = {
    "choreography": mail_and_cache,
    "orchestration": mail_and_cache,
    "reservation": mail_and_cache,
    "reservation-paid": nobody,
    "notify": notified,
    "checkout": provider,
}
"""By blueprint, whom its document has outside."""


def introduce(site: Site) -> None:
    """Tell the notification service where mail for the customer goes, where it has contacts."""
    customer = CONTACTS.get(site.stage.name)
    if customer is not None:
        service = site.services["notification"]
        put = service.client.put(contact(service, customer), json={"email": ADDRESS})
        assert put.status_code < 300, put.text


def away(site: Site, neighbour: Neighbour) -> None:
    """They are gone until somebody misses them, and until orders were taken meanwhile."""
    neighbour.leave()
    try:
        wait_for(lambda: neighbour.is_missed(site), FELT_SECONDS, "somebody misses them")
        site.accept(FELT_ORDERS)
    finally:
        neighbour.come_back()
