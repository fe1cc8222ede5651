"""Seed 003's dashboard by its own uid and titles, and the orders' business side (seed 004)."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.model import Dashboard, Panel

from waybill.blueprints.catalogue import BLUEPRINTS

ROUTES: Final = "/(api|checkout|notify|orders?|product)(/.*)?"
"""Of the services' documents, whichever the blueprint; what operators ask for is not among them."""
_CONTRACTS: Final = [blueprint.orders.contract for blueprint in BLUEPRINTS.values()]
PLACES: Final = "|".join(
    sorted({path for each in _CONTRACTS for path in (each.path, *each.aliases)})
)
"""Where orders are placed, whichever the blueprint."""
REQUESTS: Final = 'http_server_requests_seconds_count{application=~"$service"}'
BUCKETS: Final = f'http_server_requests_seconds_bucket{{application=~"$service",uri=~"{ROUTES}"}}'
COMPLETED: Final = "sum(increase(saga_completed_total[1h]))"
COMPENSATED: Final = "sum(increase(saga_compensated_total[1h]))"
_PLACING: Final = f'{{method="POST",uri=~"{PLACES}"}}'
_FAILED: Final = 'http_server_requests_seconds_count{application=~"$service",status=~"5.."}'


def _quantile(share: str, buckets: str, *, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({buckets}[$__rate_interval])))"


def _rate(series: str, *, by: str) -> str:
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


_SERVED = Panel(
    "Request Rate (per service)",
    "HTTP requests answered a second, health checks and scrapes too.",
    "reqps",
    ((_rate(REQUESTS, by="application"), "{{application}}"),),
)
_ERRORS = Panel(
    "Error Rate (5xx)",
    "Answers with status 5xx a second. 503 with Retry-After is overload or something that is down.",
    "reqps",
    (
        (
            f"{_rate(_FAILED, by='application')} or {_rate(REQUESTS, by='application')} * 0",
            "{{application}}",
        ),
    ),
)
_LATENCY = Panel(
    "Latency p50/p95/p99",
    "How long requests took, from their last header to their last byte, by service.",
    "s",
    tuple(
        (_quantile(share, BUCKETS, by="application"), f"{name} {{{{application}}}}")
        for share, name in (("0.50", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    ),
)
_ORDERS = Panel(
    "Orders Created/Confirmed/Cancelled",
    "Orders a second by what became of them. In the long run created = confirmed + cancelled.",
    "ops",
    tuple(
        (f"sum(rate(orders_{what}_total[$__rate_interval]))", what)
        for what in ("created", "confirmed", "cancelled")
    ),
)
_PUBLISHED = Panel(
    "Outbox Published Total",
    "Messages committed to the outboxes a second, by service.",
    "ops",
    (
        (
            _rate('outbox_published_total{application=~"$service"}', by="application"),
            "{{application}}",
        ),
    ),
)
_PAYMENTS = Panel(
    "Payments Processed",
    "Payments that were answered, a second, by outcome. A refused card is a failure here.",
    "ops",
    ((_rate("payments_processed_total", by="outcome"), "{{outcome}}"),),
)
LAG = Panel(
    "Kafka Consumer Lag",
    "Messages that each consumer group has not read. Without Kafka the outboxes are the topics.",
    "short",
    (
        (
            "sum by (group, topic) (max by (group, topic, partition) (kafka_consumergroup_lag))",
            "{{group}} on {{topic}}",
        ),
    ),
)
_STOCK = Panel(
    "Stock Reserved Total",
    "Orders whose stock was reserved, a second.",
    "ops",
    (("sum(rate(stock_reserved_total[$__rate_interval]))", "reserved"),),
)
_MEMORY = Panel(
    "Memory Used",
    "Resident memory of each process (the documents' JVM heap). Services of one process share it.",
    "bytes",
    (
        (
            'max by (application) (process_resident_memory_bytes{application=~"$service"})',
            "{{application}}",
        ),
    ),
)

OVERVIEW = Dashboard(
    "platform-overview",
    "Platform Service Overview",
    "What the services answer, where the sagas are, and whether consumers keep up.",
    (("", (_SERVED, _ERRORS, _LATENCY, _ORDERS, _PUBLISHED, _PAYMENTS, LAG, _STOCK, _MEMORY)),),
)

ORDERS = Dashboard(
    "orders",
    "Orders",
    "The business side: orders, payments and stock, and how long an order takes to its end.",
    (
        (
            "Orders",
            (
                Panel(
                    "Orders submitted",
                    "Orders accepted in the last hour (seed 004's orders_submitted).",
                    "short",
                    (("sum(increase(orders_submitted_total[1h]))", "submitted"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Confirmed of all that ended",
                    "Share of the orders that ended in the last hour which were confirmed.",
                    "percentunit",
                    (
                        (
                            f"{COMPLETED} / ({COMPLETED} + {COMPENSATED})",
                            "confirmed",
                        ),
                    ),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Open orders",
                    "Orders that are not settled: not ended, or ended with an undo to be answered.",
                    "short",
                    (("max by (saga) (saga_active)", "{{saga}}"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Payments refused",
                    "Payments refused in the last hour (seed 004's payments_failed_total).",
                    "short",
                    (("sum(increase(payments_failed_total[1h]))", "refused"),),
                    kind="stat",
                    width=6,
                ),
                _ORDERS,
                Panel(
                    "From acceptance to the end",
                    "How long orders took, by outcome: 50, 95 and 99 of 100 took no longer.",
                    "s",
                    tuple(
                        (
                            _quantile(share, "saga_duration_seconds_bucket", by="outcome"),
                            f"{name} {{{{outcome}}}}",
                        )
                        for share, name in (("0.50", "p50"), ("0.95", "p95"), ("0.99", "p99"))
                    ),
                ),
                _PAYMENTS,
            ),
        ),
        (
            "At the door",
            (
                Panel(
                    "Answers to new orders",
                    "POST of orders by status. 503: overload; the rest as the blueprint has it.",
                    "reqps",
                    (
                        (
                            _rate(f"http_server_requests_seconds_count{_PLACING}", by="status"),
                            "{{status}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Latency of new orders",
                    "How long placing an order took; it ends with the commit.",
                    "s",
                    tuple(
                        (
                            _quantile(
                                share,
                                f"http_server_requests_seconds_bucket{_PLACING}",
                                by="application",
                            ),
                            name,
                        )
                        for share, name in (("0.50", "p50"), ("0.99", "p99"))
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
