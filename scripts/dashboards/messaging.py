"""The messaging inside: consumers, deliveries, breakers, and what it costs the process."""

from __future__ import annotations

from scripts.dashboards.model import Dashboard, Panel


def _rate(metric: str, by: str) -> str:
    series = f'{metric}{{application=~"$service"}}'
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


def _most(metric: str) -> str:
    """Of services that share a process each shows the whole of it."""
    series = f'{metric}{{application=~"$service"}}'
    return f"max by (application) (rate({series}[$__rate_interval]))"


def _p99(metric: str, by: str) -> str:
    return f"histogram_quantile(0.99, {_rate(f'{metric}_bucket', f'{by}, le')})"


MESSAGING = Dashboard(
    "messaging",
    "Messaging",
    "What consumers take, what is tried again, and what calls to the outside come to.",
    (
        (
            "Consumers",
            (
                Panel(
                    "Messages taken",
                    "Messages a second by consumer and result; a duplicate was applied before.",
                    "ops",
                    (
                        (
                            _rate("inbox_processed_total", "consumer, result"),
                            "{{consumer}} {{result}}",
                        ),
                    ),
                ),
                Panel(
                    "Time of a batch, p99",
                    "From the claim of a batch to its commit.",
                    "s",
                    ((_p99("inbox_process_duration_seconds", "consumer"), "{{consumer}}"),),
                ),
                Panel(
                    "Tried again",
                    "Units rolled back for a transient reason, a second.",
                    "ops",
                    ((_rate("messaging_retries_total", "group, reason"), "{{group}} {{reason}}"),),
                ),
                Panel(
                    "Published by topic",
                    "Messages committed to the outboxes, a second.",
                    "ops",
                    ((_rate("messaging_client_sent_messages_total", "topic"), "{{topic}}"),),
                ),
                Panel(
                    "Requests in the queue of the intake",
                    "Requests that wait for the next commit; near its limit POST answers 503.",
                    "short",
                    (("max by (application) (intake_queue_length)", "{{application}}"),),
                ),
                Panel(
                    "Restarted loops",
                    "Loops that ended by an error and were started again, in the last hour.",
                    "short",
                    (
                        (
                            "sum by (application, loop) (increase(loop_restarts_total[1h]))",
                            "{{application}} {{loop}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Outside calls",
            (
                Panel(
                    "Calls by outcome",
                    "Calls and queries a second by kind and outcome.",
                    "ops",
                    (
                        (
                            _rate("deliveries_attempts_total", "kind, outcome"),
                            "{{kind}} {{outcome}}",
                        ),
                    ),
                ),
                Panel(
                    "Time of a call, p99",
                    "One call or query, by kind.",
                    "s",
                    ((_p99("deliveries_attempt_duration_seconds", "kind"), "{{kind}}"),),
                ),
                Panel(
                    "Breakers",
                    "What the breakers made of calls, a second; not_permitted was never sent.",
                    "ops",
                    ((_rate("circuit_breaker_calls_total", "name, kind"), "{{name}} {{kind}}"),),
                ),
            ),
        ),
        (
            "Relay (empty without Kafka)",
            (
                Panel(
                    "Sent [Kafka]",
                    "Messages that Kafka acknowledged a second; repeats count again.",
                    "ops",
                    ((_rate("outbox_sent_total", "application"), "{{application}}"),),
                ),
                Panel(
                    "Unsent [Kafka]",
                    "Messages that Kafka does not have yet, held ones apart.",
                    "short",
                    (("max by (application) (outbox_unsent)", "{{application}}"),),
                ),
                Panel(
                    "Sending stopped [Kafka]",
                    "Times a second that a lane stopped because of Kafka, or was lost to another.",
                    "ops",
                    (
                        (_rate("outbox_publish_failures_total", "application"), "{{application}}"),
                        (_rate("relay_leases_lost_total", "application"), "{{application}} lost"),
                    ),
                ),
                Panel(
                    "Lanes by process [Kafka]",
                    "Lanes that each process sends; together they are all lanes of the outbox.",
                    "short",
                    (("sum by (application, instance) (relay_lanes_leased)", "{{instance}}"),),
                ),
                Panel(
                    "Under way [Kafka]",
                    "Messages that were handed to Kafka's client and are not acknowledged yet.",
                    "short",
                    (("sum by (application) (relay_in_flight)", "{{application}}"),),
                ),
                Panel(
                    "Positions stored, and refused messages [Kafka]",
                    "Writes of the relay's positions a second (at most 20), and messages held.",
                    "ops",
                    (
                        (_rate("relay_position_writes_total", "application"), "{{application}}"),
                        (_rate("outbox_refused_total", "application"), "{{application}} refused"),
                    ),
                ),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    "Processor",
                    "Processor seconds a second: 1 is a core. Services of one process share it.",
                    "short",
                    (
                        (
                            _most("process_cpu_seconds_total"),
                            "{{application}}",
                        ),
                    ),
                ),
                Panel(
                    "Statements to databases",
                    "Round trips a second, COMMIT too, of each process.",
                    "ops",
                    (
                        (
                            _most("process_database_statements_total"),
                            "{{application}}",
                        ),
                    ),
                ),
                Panel(
                    "Open files",
                    "File descriptors in use, connections too.",
                    "short",
                    (
                        (
                            'max by (application) (process_open_fds{application=~"$service"})',
                            "{{application}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
