"""What a load generator is to send, and what came of it."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waybill.blueprints.catalogue import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.blueprints.definition import Blueprint
    from waybill.operations.sent_orders import Content


@dataclass(frozen=True)
class Plan:
    """What to send. `rate` is orders per second; 0 means as fast as the connections carry."""

    rate: float
    seconds: float
    connections: int
    host: str = "127.0.0.1"
    port_base: int = 8080
    blueprint: Blueprint = DEFAULT
    contents: Sequence[Content] = ()
    """None: the blueprint's usual ones."""
    orders_max: int = 0
    """So many requests and no more; 0: as many as the time allows."""
    timeout_seconds: float = 10.0
    resolve_seconds: float = 60.0
    """For how long a request of unknown outcome is sent again."""
    cancel_every: int = 0
    """Cancel each n-th order as soon as it is accepted; 0: none."""
    repeat_every: int = 0
    """Send each n-th request again with its key as soon as it is accepted; 0: none."""
    token: str = field(default="", repr=False)
    """Shown to the services, where they ask for one."""
    caller: str = ""
    """Whom it names: keys are that caller's own."""

    @property
    def authorization(self) -> str:
        """The line of a request's head that shows it."""
        return f"Authorization: Bearer {self.token}\r\n" if self.token else ""


@dataclass
class Result:
    """What came of it. Latencies in seconds, from the intended send to the answer's end."""

    accepted: int = 0
    replayed: int = 0
    """Repeated requests that got the first one's answer."""
    cancelled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that did nothing, by status or `not connected`."""
    unknown: int = 0
    """Requests that never got an answer which says what became of them."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Of the accepted."""
    refusal_latencies: array[float] = field(default_factory=lambda: array("d"))
    seconds: float = 0.0
    """For how long was sent."""
