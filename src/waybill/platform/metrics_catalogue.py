"""The names: seed 003's and 004's documents word for word, the rest as the ecosystem has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1),
    *(2.5, 5, 7.5, 10),
)
"""OpenTelemetry's for durations, and two below: an order takes milliseconds here."""


@dataclass(frozen=True)
class BusinessCounter:
    """A counter of committed facts. A label without values is the saga's name."""

    text: str
    applications: tuple[str, ...]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


_ORDER = ("order-service",)
_INVENTORY = ("inventory-service",)
_PAYMENT = ("payment-service",)

BUSINESS_COUNTERS: Final[Mapping[str, BusinessCounter]] = {
    "orders_created_total": BusinessCounter("Orders accepted", _ORDER),
    "orders_submitted_total": BusinessCounter("Orders accepted (seed 004's name)", _ORDER),
    "orders_confirmed_total": BusinessCounter("Orders confirmed", _ORDER),
    "orders_cancelled_total": BusinessCounter("Orders cancelled, for any reason", _ORDER),
    "saga_started_total": BusinessCounter("Processes begun", _ORDER, {"saga": ()}),
    "saga_completed_total": BusinessCounter("Processes that went through", _ORDER, {"saga": ()}),
    "saga_compensated_total": BusinessCounter("Processes that were undone", _ORDER, {"saga": ()}),
    "stock_reserved_total": BusinessCounter("Orders whose stock was reserved", _INVENTORY),
    "payments_processed_total": BusinessCounter(
        "Payments that were answered", _PAYMENT, {"outcome": ("success", "failure")}
    ),
    "payments_failed_total": BusinessCounter("Payments refused (seed 004's name)", _PAYMENT),
}

ALIASES: Final[Mapping[str, Sequence[tuple[str, Mapping[str, str], str]]]] = {
    "orders_created_total": (
        ("orders_submitted_total", {}, ""),
        ("saga_started_total", {}, "saga"),
    ),
    "orders_confirmed_total": (("saga_completed_total", {}, "saga"),),
    "orders_cancelled_total": (("saga_compensated_total", {}, "saga"),),
    "payments_processed_total": (("payments_failed_total", {"outcome": "failure"}, ""),),
}
"""Counted along: the other name, with which labels, and the label it gets itself."""

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "app_build_info": ("What is running", ("version", "commit")),
    "outbox_pending": ("Messages that some reader has not passed yet", ()),
    "outbox_oldest_pending_age_seconds": ("Age of the oldest of them", ()),
    "kafka_consumergroup_lag": (
        "Messages a consumer has not read; a partition is a lane here",
        ("group", "topic", "partition"),
    ),
    "messaging_dead_letters_open": ("Dead letters without a verdict", ("consumer",)),
    "deliveries_waiting": ("Outside calls by state", ("kind", "state")),
    "saga_active": ("Orders that are not settled", ("saga",)),
    "intake_queue_length": ("Requests that wait for the next commit", ()),
    "circuit_breaker_state": ("1 for the state it is in", ("name", "state")),
    "loop_last_progress_age_seconds": ("Since a loop's last turn", ("loop",)),
}
