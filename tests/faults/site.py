"""A platform under faults: its database is the test's own, every service a process of its own.

The test runs PostgreSQL, so that no service brings it back before the test does; customers order
at a modest rate and remember what they were told. `endures` is what every fault is held to.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import rows, rows_at, value
from tests.acceptance.processes import PlatformProcess, wait_for
from tests.acceptance.stages import CHOREOGRAPHY
from tests.faults.customers import Customers

from waybill.operations.audit.scope import PROVIDER
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.acceptance.stages import Stage
    from tests.faults.brokers import Kafka
    from tests.faults.neighbours import Neighbour

    from waybill.operations.audit import Report

    Books = Callable[["Site"], Report]

END_SECONDS = 60.0
"""P1: an accepted order is terminal so long after the last fault healed."""
QUIET_SECONDS = 180.0
"""What an outage's orders owe others takes longer: thousands of mails, a connection each."""
AROUND = 12
"""Orders accepted before a fault, and again after it."""

OPEN = "SELECT count(*) FROM app.orders WHERE status <> ALL ($1)"
DEAD_LETTERS = "SELECT count(*) FROM messaging.dead_letters WHERE verdict = 'OPEN'"
PARKED = "SELECT count(*) FROM messaging.deliveries WHERE state = 'PARKED'"


class Server(EmbeddedPostgres):
    """PostgreSQL that stays down when it is taken down: nobody else may start it meanwhile."""

    def take_down(self, number: signal.Signals) -> None:
        """SIGINT is an ordered stop, SIGQUIT the immediate one; its place stays taken."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=30)
        self._process = None

    def bring_up(self) -> None:
        """Start it again, through crash recovery if that is due."""
        self.start_blocking()

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._cluster.log.read_text(errors="replace")


@dataclass
class Site:
    """The services of one platform, and its customers. `opened` makes one."""

    data: Path
    server: Server
    services: dict[str, PlatformProcess]
    customers: Customers
    kafka: Kafka | None = None
    stage: Stage = CHOREOGRAPHY
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    """Whom it calls outside."""
    lost: set[str] = field(default_factory=set)
    """Orders that a restore has taken away: audits name them ever after."""
    sent: dict[str, set[str]] = field(default_factory=dict)
    """By service whose database was restored: messages that its outbox had sent to Kafka before."""
    has_all_topics: bool = True
    """Whether the topics have all that was ever sent: the audit reads them, too."""

    @property
    def broker(self) -> Kafka:
        """Kafka, for faults of it."""
        assert self.kafka is not None
        return self.kafka

    @property
    def order(self) -> PlatformProcess:
        """The service that takes orders."""
        return self.services["order"]

    def ready(self) -> bool:
        """Whether every service says so of itself."""
        try:
            return all(
                process.client.get(f"{self.url(name)}/readyz").status_code == 200
                for name, process in self.services.items()
            )
        except httpx2.TransportError:
            return False

    def url(self, service: str) -> str:
        """Where it listens."""
        return self.services[service].url(self.stage.offsets[service])

    def superuser(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of a statement in the database `postgres`."""
        return rows_at(self.server.url(), statement, *arguments)

    def value(self, service: str, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the column holds
        """The first column of the first row in a service's database."""
        return value(self.data, service, statement, *arguments)

    def rows(self, service: str, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of a statement in a service's database."""
        return rows(self.data, service, statement, *arguments)

    def figure(self, service: str, name: str, /, **labels: str) -> float:
        """A service's sample of that name, added up over the labels not given."""
        process = self.services[service]
        text = process.client.get(f"{self.url(service)}/metrics").text
        wanted = [f'{label}="{text}"' for label, text in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.partition("{")[0].partition(" ")[0] == name
            and all(part in line for part in wanted)
        )

    def accept(self, more: int, seconds: float = 30) -> None:
        """Wait until customers were told of so many more orders that they are accepted."""
        self.customers.accept(more, seconds)

    def come_back(self, service: str) -> float:
        """Start a process that ended; the instant of it, by the monotonic clock."""
        began = time.monotonic()
        self.services[service].start()
        return began

    @contextmanager
    def ordering(self) -> Iterator[None]:
        """While the block runs customers order."""
        self.customers.resume()
        try:
            yield
        finally:
            self.customers.pause()

    def told(self) -> str:
        """What everybody says, for a test that failed."""
        logs = [f"--- {name}\n{process.tail()}" for name, process in self.services.items()]
        return "\n".join([f"answers: {dict(self.customers.answers)}", *logs])

    def all_ended(self) -> bool:
        """Whether every order there is has come to its end."""
        endings = self.stage.blueprint.order_process.endings
        return not self.value("order", OPEN, [each.status for each in endings])

    def assert_clean(self, *, customers: bool = True) -> Report:
        """The audit finds nothing, and nothing waits for an operator."""
        history = self.customers.history() if customers else None
        outside = "PAYMENT_PROVIDER_URL" in self.order.environment
        return assert_balanced(
            self.order,
            QUIET_SECONDS,
            history=history,
            topics=self.has_all_topics,
            blueprint=self.stage.blueprint,
            elsewhere=frozenset({PROVIDER} if outside else ()),
        )


@contextmanager
def opened(
    data: Path,
    *,
    port_base: int,
    environment: dict[str, str],
    kafka: Kafka | None = None,
    server_settings: Mapping[str, str] | None = None,
    before_services: Callable[[Server], None] = lambda _: None,
    stage: Stage = CHOREOGRAPHY,
) -> Iterator[Site]:
    """Start it all, the server first; at the end nothing of it runs."""
    with ExitStack() as stack:
        server = stack.enter_context(Server(data, shared=True, settings=server_settings))
        before_services(server)
        services = {}
        for name in stage.offsets:
            process = PlatformProcess(
                data, port_base=port_base, environment=environment, service=name
            )
            process.offsets = stage.offsets
            services[name] = process.launch()
            stack.callback(process.close)
        for process in services.values():
            process.wait_ready()
        stage.raise_stock(port_base)
        customers = stack.enter_context(Customers(services["order"], stage))
        yield Site(data, server, services, customers, kafka, stage)


def endures(
    site: Site, fault: Callable[[], float | None], books: Books = Site.assert_clean
) -> Report:
    """Orders before, during and after a fault: all of them end in time, and the books are right.

    `fault` returns when it is healed, or, if it did more after that, the instant of the healing.
    It fails if it was not felt.
    """
    try:
        return _endures(site, fault, books)
    except BaseException:
        print(site.told())  # noqa: T201 - pytest shows it
        raise


def _endures(site: Site, fault: Callable[[], float | None], books: Books) -> Report:
    with site.ordering():
        site.accept(AROUND)
        healed = fault() or time.monotonic()
        site.accept(AROUND, END_SECONDS)
    return recovered(site, healed, books)


def recovered(site: Site, healed: float, books: Books = Site.assert_clean) -> Report:
    """Everything ended within T of the healing, nothing is a dead letter, nothing was lost."""
    left = partial(time_left, healed)
    wait_for(site.ready, left(), "every service is ready again")
    wait_for(site.all_ended, left(), "all orders terminal")
    site.customers.settle_unknown()  # minutes, after an outage in which thousands were refused
    wait_for(site.all_ended, END_SECONDS, "all that were refused before are terminal")
    for service in site.services:
        assert site.value(service, DEAD_LETTERS) == 0, service
        assert site.value(service, PARKED) == 0, service
    return books(site)


def time_left(healed: float) -> float:
    """Of T since the healing."""
    return max(1.0, healed + END_SECONDS - time.monotonic())
