"""What is audited: one blueprint as it is deployed, and what of it decides which rules apply.

Nothing of a blueprint is typed again here: terminal statuses, edges, topics and readers come from
its definition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from waybill.commerce.contracts import (
    OrderCreated,
    PaymentSucceeded,
    StockReserved,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from waybill.blueprints.definition import Blueprint, Service
    from waybill.commerce.contracts import Event
    from waybill.commerce.process import Process

ORDER = "order"
INVENTORY = "inventory"
PAYMENT = "payment"
NOTIFICATION = "notification"
PROVIDER = "provider"
ORCHESTRATOR = "orchestrator"
ACCOUNTS = "accounts"
"""The databases, by the names that `waybill psql` knows."""


class Need(Enum):
    """What a rule needs of a blueprint; the value says what is missing where it is not there."""

    TOTAL = "its orders have no total"
    DEADLINE = "its orders have no deadline"
    STOCK = "it reserves no stock"
    PAYMENT = "it takes no payment"
    PROVIDER_LEDGER = "its payment provider keeps no ledger that could be read"
    NOTIFICATIONS = "it tells customers nothing"
    BROKER = "needs KAFKA_BROKERS: in direct mode the outbox is the topic"
    SMTP_LEDGER = "needs an SMTP server's ledger, which is not a database of ours"
    IN_PROGRESS = "void: a key and its order are one commit, there is no state in between"
    HISTORY = "needs a client's history: --history FILE"


@dataclass(frozen=True)
class Route:
    """A consumer's reading of one service's outbox. Names of databases, topic and types."""

    consumer: str
    source: str
    topic: str
    types: tuple[str, ...]
    """What it acts on; it skips the topic's other types (protocol C9)."""


@dataclass(frozen=True)
class Scope:
    """One blueprint, deployed over these databases."""

    blueprint: Blueprint
    services: Mapping[str, Service]
    """By database."""
    topics: Mapping[str, Sequence[type[Event]]]
    databases: frozenset[str]

    @property
    def name(self) -> str:
        """The blueprint's."""
        return self.blueprint.name

    @property
    def process(self) -> Process:
        """An order's, as the order service shows it."""
        return self.blueprint.order_process

    @property
    def offers(self) -> frozenset[Need]:
        """The needs that it meets, but for those that depend on the run."""
        events = {event.__name__ for events in self.topics.values() for event in events}
        met = {
            Need.TOTAL: "total_amount" in OrderCreated.__struct_fields__,
            Need.DEADLINE: self.process.has_deadline,
            Need.STOCK: self.keeps_its_stock
            or (StockReserved.__name__ in events and INVENTORY in self.services),
            Need.PAYMENT: PaymentSucceeded.__name__ in events and PAYMENT in self.services,
            Need.PROVIDER_LEDGER: PaymentSucceeded.__name__ in events
            and PROVIDER in self.databases,
            Need.NOTIFICATIONS: self.notifies or self.mails,
        }
        return frozenset(need for need, is_met in met.items() if is_met)

    @property
    def keeps_its_stock(self) -> bool:
        """Whether the order service has the stock, in its own database."""
        return self.blueprint.orders.stock is not None and ORDER in self.services

    @property
    def notifies(self) -> bool:
        """Whether the order service tells others by HTTP of its orders."""
        return self.blueprint.orders.notices is not None and ORDER in self.services

    @property
    def mails(self) -> bool:
        """Whether the notification service writes to customers."""
        return NOTIFICATION in self.services and bool(self.services[NOTIFICATION].acts_on)

    def home(self, database: str) -> str:
        """Where the books of this service are kept: inventory's may be in the order's database."""
        return ORDER if database == INVENTORY and self.keeps_its_stock else database

    @property
    def holding(self) -> frozenset[str]:
        """The statuses of orders that hold their stock, or bought it."""
        return frozenset(self.process.lifecycle if self.keeps_its_stock else [self.bought])

    @property
    def bought(self) -> str:
        """The status of orders that came to a good end."""
        return self.process.confirmed.status

    @property
    def terminal(self) -> list[str]:
        """The statuses that never change."""
        return sorted(self.process.terminal)

    @property
    def ended(self) -> list[str]:
        """The statuses in which nothing is under way."""
        return sorted({ending.status for ending in self.process.endings})

    @property
    def sells(self) -> bool:
        """Whether a confirmed order's stock is booked as sold; else it stays reserved."""
        asks = self.services[INVENTORY].events if INVENTORY in self.services else ()
        return any(event.__name__ == self.process.confirmed.event for event in asks)

    @property
    def edges(self) -> list[tuple[str | None, str]]:
        """The edges of the state machine; None is where an order begins."""
        lifecycle = self.process.lifecycle
        edges = [(here, there) for here in lifecycle for there in sorted(lifecycle[here])]
        return [(None, self.process.initial), *edges]

    @property
    def routes(self) -> Iterator[Route]:
        """Who reads what from whom."""
        for consumer, service in self.services.items():
            for topic, events in service.acts_on.items():
                for source, other in self.services.items():
                    if service.hears(other, topic):
                        types = self.blueprint.wire_names(events)
                        yield Route(consumer, source, topic, types)

    def consumer_id(self, database: str) -> str:
        """The consumer id (and producer's name) of the service with this database."""
        return self.services[database].name


def scope_of(
    blueprint: Blueprint, databases: frozenset[str], *, elsewhere: frozenset[str] = frozenset()
) -> Scope:
    """A blueprint over these databases, but for services that others run.

    What those publish has no outbox that could be looked at, and is left out of the scope.
    """
    services = {service.database: service for service in blueprint.services.values()}
    theirs = {
        topic for name, each in services.items() if name in elsewhere for topic in each.publishes
    }
    ours = {
        name: replace(
            service,
            acts_on={topic: e for topic, e in service.acts_on.items() if topic not in theirs},
        )
        for name, service in services.items()
        if name not in elsewhere
    }
    return Scope(
        blueprint=blueprint,
        services=ours,
        topics={topic: e for topic, e in blueprint.topics.items() if topic not in theirs},
        databases=databases,
    )


DATABASES = frozenset((ORDER, INVENTORY, PAYMENT, NOTIFICATION, PROVIDER, ORCHESTRATOR))
"""All that the embedded platform may have."""
