"""A blueprint as a value: all that makes one of the documented systems, and nothing that runs.

Services, audit, commands and tests take it as an argument; none asks which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from waybill.blueprints import workload
from waybill.commerce.inventory.api import products_surface
from waybill.commerce.inventory.domain import accept, reject, wants
from waybill.commerce.notifications.domain import notification_of
from waybill.commerce.orders.contract import SEED_003
from waybill.commerce.orders.domain import MAKERS
from waybill.commerce.payments.domain import CHARGE_EVENTS, charges
from waybill.messaging.core.codec import Codec
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.commerce.contracts import Event
    from waybill.commerce.http.surface import Surface
    from waybill.commerce.inventory.api import Products
    from waybill.commerce.inventory.domain import Accept, Reject, Wants
    from waybill.commerce.inventory.own_orders import Lack
    from waybill.commerce.notifications.domain import Notification
    from waybill.commerce.orchestrator.domain import Orchestration
    from waybill.commerce.orders.contract import OrderContract
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.request import NotTaken
    from waybill.commerce.payments.domain import ChargeEvents, Charges
    from waybill.commerce.process import Process
    from waybill.messaging.core.message import ForeignRecord, Message


class WireCodec(Codec, Protocol):
    """A codec that also tells what its events look like: descriptions are derived from it."""

    def written(self, event: type[Event]) -> Any:  # noqa: ANN401 - a struct, or an alias of one
        """The type whose JSON stands in the topic for this event, as msgspec describes it."""

    def written_version(self, event: type[Event]) -> int:
        """The version in which this event is written today."""


@dataclass(frozen=True)
class Service:
    """One service: its name is its consumer id (and producer's name).

    `publishes` are the topics that it writes, `acts_on` what it reads: by topic, the events that
    it does something about; it skips the topic's others (protocol C9). Of those nobody waits for
    the `patient` ones: the service may keep them for a moment, to do several at once. `tells` are
    the events that it writes, where others write into the same topics.
    """

    name: str
    publishes: tuple[str, ...]
    acts_on: Mapping[str, tuple[type[Event], ...]]
    patient: tuple[type[Event], ...] = ()
    tells: tuple[type[Event], ...] = ()

    @property
    def database(self) -> str:
        """The name of its database, and of the service on the command line."""
        return self.name.removesuffix("-service")

    @property
    def events(self) -> tuple[type[Event], ...]:
        """Everything that it acts on, whatever the topic."""
        return tuple(event for events in self.acts_on.values() for event in events)

    def reads_of(self, other: Service) -> tuple[str, ...]:
        """The topics of another service that it acts on."""
        return tuple(topic for topic in other.publishes if self.hears(other, topic))

    def hears(self, other: Service, topic: str) -> tuple[type[Event], ...]:
        """What it acts on of that which a service writes into a topic.

        Of a topic that it shares with others it does not hear itself.
        """
        if topic not in other.publishes or (other.tells and other.name == self.name):
            return ()
        events = self.acts_on.get(topic, ())
        return tuple(event for event in events if not other.tells or event in other.tells)


@dataclass(frozen=True, kw_only=True)
class ShopStock:
    """Stock that the order service keeps itself, and takes in the order's transaction.

    `first` are the products that there are at first (id, name, stock), `refuse` is what a request
    is answered with that gets nothing, `surface` its routes beside those of orders.
    """

    first: Sequence[tuple[UUID, str, int]]
    refuse: Callable[[Lack], NotTaken]
    surface: Callable[[Products], Surface]


@dataclass(frozen=True, kw_only=True)
class Notices:
    """POST /notify for each new order: by the order service, to the notification service.

    Facts of the process: the other side has it, or it was given up. They stand in no topic.
    """

    done: type[Event]
    refused: type[Event]


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the order service is told: its HTTP, and how it makes the events of its process.

    `follows` is the order's process as this service sees it, where another one decides.
    """

    contract: OrderContract = SEED_003
    makers: Makers = field(default_factory=lambda: MAKERS)
    stock: ShopStock | None = None
    """None: somebody else keeps it."""
    notices: Notices | None = None
    """None: it calls nobody."""
    follows: Process | None = None
    personal: tuple[str, ...] = ()
    """Members of what is kept of a request that are the customer's, to be erased with them."""


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What inventory is told: what asks for stock, how it answers, and its HTTP.

    `sells_at_once`: who asks is confirmed; stock is sold with the answer, after a deadline too.
    """

    wants: Wants = wants
    reject: Reject = reject
    accept: Accept = accept
    sells_at_once: bool = False
    surface: Callable[[Products, Callable[[], UUID]], Surface] = products_surface


@dataclass(frozen=True, kw_only=True)
class Payments:
    """What payments are told: what asks for a charge, and how a capture is told."""

    charges: Charges = charges
    charge_events: ChargeEvents = CHARGE_EVENTS


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """One documented system. Refuses, at construction, topics that nobody writes.

    And those of several writers who do not say which events are whose. `title` says in a few words
    how it works, `source` which document it comes from. `topics` has the events that stand in
    each. `codec` is their form on the wire; `read_foreign` understands a stranger's record without
    headers of ours.
    """

    name: str
    title: str
    source: str
    process: Process
    topics: Mapping[str, tuple[type[Event], ...]]
    services: Mapping[str, Service]
    codec: Callable[[], WireCodec]
    read_foreign: Callable[[ForeignRecord], Message]
    host: str = "order"
    """The service that brings orders to their end, by its database: it holds their process."""
    order_prefix: str = ""
    """What stands before an order's id wherever the document shows it."""
    headers: tuple[str, ...] = ()
    """What its records have beside the headers of every blueprint (docs/events.md)."""
    dead_letter_suffix: str = ".DLT"
    personal: tuple[str, ...] = ()
    """Members of its documented events that hold personal data (contracts C38)."""
    orders: Orders = Orders()
    stock: Stock = Stock()
    payments: Payments = Payments()
    orchestrator: Orchestration | None = None
    """What the orchestrator is told, where there is one."""
    workload: workload.Workload = workload.SEED_003
    """The orders that load, bench and demo place."""
    tell: Callable[[object], Notification | None] = notification_of
    """What an ending tells the customer; its `kind` is the name of the event."""
    known_by_address: bool = False
    """Whether its events say where mail to the customer goes; else contacts do (contracts C38)."""
    edge: bool = False
    """Whether its document has accounts and a gateway: it then runs them unless told not to."""

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a wiring that could not work."""
        written = [topic for service in self.services.values() for topic in service.publishes]
        read = {topic for service in self.services.values() for topic in service.acts_on}
        if {*written} != {*self.topics} or not read <= {*self.topics}:
            raise ConfigurationError(
                f"blueprint {self.name!r}: every topic needs one service that writes it; written "
                f"are {sorted(written)}, read {sorted(read)}, defined {sorted(self.topics)}"
            )
        shared = {topic for topic in written if written.count(topic) > 1}
        for service in self.services.values():
            if shared.intersection(service.publishes) and not service.tells:
                raise ConfigurationError(
                    f"blueprint {self.name!r}: others write into topics of {service.name} too, so "
                    "it must say which events it tells"
                )
        if any(each.database == "orchestrator" for each in self.services.values()):
            _ = self.orchestration

    @property
    def orchestration(self) -> Orchestration:
        """What the orchestrator is told. Raises ConfigurationError where nothing is."""
        if self.orchestrator is None:
            raise ConfigurationError(
                f"blueprint {self.name!r}: its orchestrator is told nothing: say what with "
                "`orchestrator`, or leave that service out of `services`"
            )
        return self.orchestrator

    @property
    def order_process(self) -> Process:
        """An order's process as the order service shows it."""
        return self.orders.follows or self.process

    @property
    def summary(self) -> str:
        """The title as a sentence begins."""
        return self.title[:1].upper() + self.title[1:]

    @cached_property
    def events(self) -> tuple[type[Event], ...]:
        """Every event that stands in a topic."""
        return tuple(event for events in self.topics.values() for event in events)

    def service(self, database: str) -> Service:
        """The service with this database, by its name on the command line."""
        for service in self.services.values():
            if service.database == database:
                return service
        known = ", ".join(service.database for service in self.services.values())
        raise ConfigurationError(f"{self.name} has no service {database!r}: it has {known}")

    def writer(self, topic: str) -> Service:
        """The service that writes this topic; of several, the first."""
        return self.writers(topic)[0]

    def writers(self, topic: str) -> tuple[Service, ...]:
        """The services that write this topic."""
        return tuple(each for each in self.services.values() if topic in each.publishes)

    def teller(self, event: type[Event]) -> Service:
        """The service that writes this event, in the first place."""
        topic = next(topic for topic, events in self.topics.items() if event in events)
        return next(each for each in self.writers(topic) if not each.tells or event in each.tells)

    def wire_name(self, name: str) -> str:
        """What the event of this canonical name is called on the wire."""
        event = next(event for event in self.events if event.__name__ == name)
        return self.wire_names((event,))[0]

    def wire_names(self, events: tuple[type[Event], ...]) -> tuple[str, ...]:
        """What these events' types are called on the wire, in order of the alphabet."""
        return tuple(sorted(self.codec().names(events)))
