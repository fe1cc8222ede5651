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


@dataclass(frozen=True)
class Duration:
    """A histogram in seconds, by saga and one other label."""

    text: str
    applications: tuple[str, ...]
    buckets: tuple[float, ...]
    labels: Mapping[str, Sequence[str]]


_EVERY = (
    *("order-service", "payment-service", "inventory-service", "notification-service"),
    "orchestrator",
)
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
    "intake_refused_total": BusinessCounter(
        "Requests refused at the door, by what there is too much of",
        _EVERY,
        {"reason": ("load", "disk")},
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

DURATIONS: Final[Mapping[str, Duration]] = {
    "saga_duration_seconds": Duration(
        "From an order's acceptance to its end",
        _ORDER,
        (*SECONDS_BUCKETS, 30, 60, 300, 900, 3600),
        {"outcome": ("completed", "compensated")},
    ),
}

GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "app_build_info": ("What is running", ("version", "commit")),
    "database_up": ("1 while the service's database answers", ()),
    "figures_age_seconds": ("Since the gauges of a look were last brought up to date", ("look",)),
    "outbox_pending": ("Messages that some reader has not passed yet", ()),
    "outbox_oldest_pending_age_seconds": ("Age of the oldest of them", ()),
    "outbox_unsent": ("Messages that Kafka does not have yet, held ones apart", ()),
    "outbox_oldest_unsent_age_seconds": ("Age of the oldest of them", ()),
    "outbox_held": ("Messages that wait for an operator, or behind one that does", ()),
    "outbox_lanes_without_owner": ("Lanes that no relay sends now", ()),
    "kafka_up": ("1 while the brokers answer", ()),
    "outbox_spare_partitions": ("Empty partitions ahead of the outbox's last row", ()),
    "outbox_reader_silent_seconds": ("Since a reader of the outbox last reported", ("consumer",)),
    "kafka_consumergroup_lag": (
        "Messages a consumer has not read; a partition is a lane without Kafka",
        ("group", "topic", "partition"),
    ),
    "kafka_consumergroup_lag_seconds": (
        "Age of the oldest message that a consumer has not read",
        ("group", "topic"),
    ),
    "messaging_dead_letters_open": ("Dead letters without a verdict", ("consumer",)),
    "deliveries_waiting": ("Outside calls by state", ("kind", "state")),
    "deliveries_unknown": ("Outside calls whose outcome must be asked for", ("kind",)),
    "deliveries_oldest_pending_age_seconds": ("Age of the oldest call still owed", ("kind",)),
    "saga_active": ("Orders that are not settled", ("saga",)),
    "saga_oldest_active_age_seconds": ("Age of the oldest of them", ("saga",)),
    "intake_queue_length": ("Requests that wait for the next commit", ()),
    "disk_used_ratio": ("Used share of the fuller disk of the data, 0 to 1", ()),
    "postgres_oldest_transaction_age_seconds": ("Of the whole server, whoever began it", ()),
    "postgres_oldest_xmin_age_transactions": (
        "How many transactions ago the oldest snapshot was taken; older rows are kept for it",
        (),
    ),
    "postgres_prepared_transactions": ("Transactions that wait for a second phase", ()),
    "retry_budget_tokens": ("What is left for retries of outside calls; at 0 they wait", ("name",)),
    "circuit_breaker_state": ("1 for the state it is in", ("name", "state")),
}
