"""A blueprint as a value: all that makes one of the documented systems, and nothing that runs.

Services, audit, commands and tests take it as an argument; none asks which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from waybill.commerce.inventory.api import products_surface
from waybill.commerce.inventory.domain import reject
from waybill.commerce.notifications.domain import notification_of
from waybill.commerce.orders.contract import SEED_003
from waybill.commerce.orders.domain import MAKERS
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from waybill.commerce.contracts import Event
    from waybill.commerce.http.surface import Surface
    from waybill.commerce.inventory.api import Products
    from waybill.commerce.inventory.domain import Reject
    from waybill.commerce.inventory.own_orders import Lack
    from waybill.commerce.notifications.domain import Notification
    from waybill.commerce.orders.contract import OrderContract
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.request import NotTaken
    from waybill.commerce.process import Process
    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.message import ForeignRecord, Message


@dataclass(frozen=True)
class Service:
    """One service: its name is its consumer id (and producer's name).

    `publishes` are the topics that it alone writes, `acts_on` what it reads: by topic, the events
    that it does something about; it skips the topic's others (protocol C9). Of those nobody waits
    for the `patient` ones: the service may keep them for a moment, to do several at once.
    """

    name: str
    publishes: tuple[str, ...]
    acts_on: Mapping[str, tuple[type[Event], ...]]
    patient: tuple[type[Event], ...] = ()

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
        return tuple(topic for topic in other.publishes if topic in self.acts_on)


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
    """What the order service is told: its HTTP, and how it makes the events of its process."""

    contract: OrderContract = SEED_003
    makers: Makers = field(default_factory=lambda: MAKERS)
    stock: ShopStock | None = None
    """None: somebody else keeps it."""
    notices: Notices | None = None
    """None: it calls nobody."""


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What inventory is told: how it refuses, and its HTTP."""

    reject: Reject = reject
    surface: Callable[[Products, Callable[[], UUID]], Surface] = products_surface


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """One documented system. Refuses, at construction, topics that nobody or two services write.

    `title` says in a few words how it works, `source` which document it comes from. `topics` has
    the events that stand in each. `codec` is their form on the wire; `read_foreign` understands a
    stranger's record without headers of ours.
    """

    name: str
    title: str
    source: str
    process: Process
    topics: Mapping[str, tuple[type[Event], ...]]
    services: Mapping[str, Service]
    codec: Callable[[], Codec]
    read_foreign: Callable[[ForeignRecord], Message]
    dead_letter_suffix: str = ".DLT"
    personal: tuple[str, ...] = ()
    """Members of its documented events that hold personal data (contracts C38)."""
    orders: Orders = Orders()
    stock: Stock = Stock()
    tell: Callable[[object], Notification | None] = notification_of
    """What an ending tells the customer."""
    known_by_address: bool = False
    """Whether its events say where mail to the customer goes; else contacts do (contracts C38)."""

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a wiring that could not work."""
        written = [topic for service in self.services.values() for topic in service.publishes]
        read = {topic for service in self.services.values() for topic in service.acts_on}
        if sorted(written) != sorted(self.topics) or not read <= {*self.topics}:
            raise ConfigurationError(
                f"blueprint {self.name!r}: every topic needs one service that writes it; written "
                f"are {sorted(written)}, read {sorted(read)}, defined {sorted(self.topics)}"
            )

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
        """The service that writes this topic."""
        return next(each for each in self.services.values() if topic in each.publishes)

    def wire_name(self, name: str) -> str:
        """What the event of this canonical name is called on the wire."""
        event = next(event for event in self.events if event.__name__ == name)
        return self.wire_names((event,))[0]

    def wire_names(self, events: tuple[type[Event], ...]) -> tuple[str, ...]:
        """What these events' types are called on the wire, in order of the alphabet."""
        return tuple(sorted(self.codec().names(events)))
