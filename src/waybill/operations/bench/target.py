"""The platform that is measured, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.operations.bench.backlog import Others

LOOK_SECONDS: Final = 0.002
"""The confirmations are looked for so often while orders come at a rate."""
LOOK_SECONDS_FLAT_OUT: Final = 0.05
"""And so often while as many come as are carried: looking must not take their place."""
STATISTICS_SECONDS: Final = 10.5
"""PostgreSQL's backends report their row counts 10 s after their last transaction at the latest."""
DRAIN_SECONDS_MAX: Final = 120.0
"""After the last order was sent, everything must be at rest within this."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A platform on this machine: its addresses, and its processes as they are now."""

    blueprint: Blueprint
    host: str
    port_base: int
    process_ports: Sequence[int]
    """One port of each of the platform's processes."""
    urls: Mapping[str, str]
    """Service roles, by database."""
    owner_urls: Mapping[str, str]
    auditor_urls: Mapping[str, str]
    order_reader_url: str
    data_directory: Path
    python: Callable[[], Sequence[int]]
    postgres: Callable[[], Sequence[int]]
    kafka: KafkaSettings | None = None
    """The brokers that it runs on."""
    token: str = field(default="", repr=False)
    """Shown to the services, where they ask for one."""
    caller: str = ""
    """Whom it names."""
    others: Others | None = None
    """All processes but the order service's; None: they cannot be stopped alone."""
    is_compared: bool = False
    """Whether the ends of orders must be seen in the same way whatever the blueprint."""


@dataclass(frozen=True, kw_only=True)
class OutagePlan:
    """Whoever the blueprint calls outside is away for `seconds`, while orders come at a rate.

    `connections` are many: where answers wait for the other side, orders must come all the same.
    """

    seconds: float = 30.0
    rate: float = 20.0
    warm_up_seconds: float = 3.0
    connections: int = 256
    settle_seconds_max: float = 300.0
    """After its return all must be settled within this."""


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """One measurement. `rate` is orders per second; 0: as many as the connections carry."""

    rate: float
    seconds: float
    warm_up_seconds: float
    settle_seconds: float = STATISTICS_SECONDS
    connections: int = 32
    watch_every: int = 0
    """Look at each n-th order by GET too, as a cross-check; 0: at none."""

    @property
    def look_seconds(self) -> float:
        """How often confirmations are looked for."""
        return LOOK_SECONDS if self.rate else LOOK_SECONDS_FLAT_OUT

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.rate:g} orders/s" if self.rate else "flat out"


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What is measured behind the phases; 0: not."""

    burst: int = 0
    """Orders at the same moment."""
    backlog: int = 0
    """Orders whose events wait for services that do not run."""


NOTHING_MORE: Final = Extra()
