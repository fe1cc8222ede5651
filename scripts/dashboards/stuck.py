"""Is anything lost or stuck? Every panel is green where nothing is."""

from __future__ import annotations

from scripts.dashboards.model import Dashboard, Panel
from scripts.dashboards.overview import LAG


def _worst(title: str, description: str, unit: str, *shown: str, limit: float) -> Panel:
    query, legend = shown
    queries = ((query, legend),)
    return Panel(title, description, unit, queries, kind="stat", width=6, red_above=limit)


def _least(title: str, description: str, *shown: str, limit: float = 1) -> Panel:
    query, legend = shown
    queries = ((query, legend),)
    return Panel(title, description, "short", queries, kind="stat", width=6, red_below=limit)


STUCK = Dashboard(
    "lost-or-stuck",
    "Is anything lost or stuck?",
    "What waits, for how long, and what waits for an operator. Red: look into the runbook.",
    (
        (
            "Waits for an operator",
            (
                _worst(
                    "Dead letters without a verdict",
                    "Messages that a consumer could not apply. Runbook: DeadLettersOpen.",
                    "short",
                    "max by (consumer) (messaging_dead_letters_open)",
                    "{{consumer}}",
                    limit=1,
                ),
                _worst(
                    "Parked deliveries",
                    "Outside calls that are not tried any more. Runbook: DeliveriesParked.",
                    "short",
                    'max by (kind) (deliveries_waiting{state="parked"})',
                    "{{kind}}",
                    limit=1,
                ),
                _worst(
                    "Halted loops",
                    "Loops that will not go on by themselves. Runbook: LoopHalted.",
                    "short",
                    "sum by (application) (loop_halted)",
                    "{{application}}",
                    limit=1,
                ),
                _worst(
                    "Outcomes unknown",
                    "Calls of which nobody knows whether they worked. Runbook: OutcomesUnknown.",
                    "short",
                    "max by (kind) (deliveries_unknown)",
                    "{{kind}}",
                    limit=1,
                ),
            ),
        ),
        (
            "Waits",
            (
                _worst(
                    "Oldest open order",
                    "Age of the oldest open order; its deadline asks after 15 minutes.",
                    "s",
                    "max by (saga) (saga_oldest_active_age_seconds)",
                    "{{saga}}",
                    limit=1200,
                ),
                _worst(
                    "Oldest unread message",
                    "Age of the oldest message that a group has not read. Runbook: MessagesWait.",
                    "s",
                    "max by (group, topic) (kafka_consumergroup_lag_seconds)",
                    "{{group}} on {{topic}}",
                    limit=60,
                ),
                _worst(
                    "Oldest pending message",
                    "Age of the oldest row of an outbox that some reader has not passed.",
                    "s",
                    "max by (application) (outbox_oldest_pending_age_seconds)",
                    "{{application}}",
                    limit=60,
                ),
                _worst(
                    "Oldest call still owed",
                    "Age of the oldest outside call that has not ended.",
                    "s",
                    "max by (kind) (deliveries_oldest_pending_age_seconds)",
                    "{{kind}}",
                    limit=1200,
                ),
                LAG,
                Panel(
                    "Pending in the outboxes",
                    "Rows that some reader has not passed yet, at most 10,000 a lane.",
                    "short",
                    (("max by (application) (outbox_pending)", "{{application}}"),),
                ),
                Panel(
                    "Outside calls waiting",
                    "Calls to payment provider and mail by kind and state.",
                    "short",
                    (("max by (kind, state) (deliveries_waiting)", "{{kind}} {{state}}"),),
                ),
            ),
        ),
        (
            "Is down or closed",
            (
                _least(
                    "Services",
                    "1 where a process of the service answers.",
                    "max by (job) (up)",
                    "{{job}}",
                ),
                _least(
                    "Databases",
                    "1 where the service's database answers.",
                    "min by (application) (database_up)",
                    "{{application}}",
                ),
                _worst(
                    "Breakers not closed",
                    "1 where calls to the outside are rejected or tried carefully.",
                    "short",
                    '1 - min by (name) (circuit_breaker_state{state="closed"})',
                    "{{name}}",
                    limit=1,
                ),
                _worst(
                    "Refused at the door",
                    "Requests a second that got 503 for load or for a full disk.",
                    "reqps",
                    "sum by (application, reason) (rate(intake_refused_total[$__rate_interval]))",
                    "{{application}} {{reason}}",
                    limit=0.001,
                ),
            ),
        ),
        (
            "Between the outboxes and Kafka (empty without Kafka)",
            (
                _least(
                    "Brokers [Kafka]",
                    "1 where the service reaches the brokers. Runbook: KafkaDown.",
                    "min by (application) (kafka_up)",
                    "{{application}}",
                ),
                _worst(
                    "Oldest unsent message [Kafka]",
                    "Age of the oldest message that Kafka does not have. Runbook: OutboxUnsent.",
                    "s",
                    "max by (application) (outbox_oldest_unsent_age_seconds)",
                    "{{application}}",
                    limit=60,
                ),
                _worst(
                    "Held messages [Kafka]",
                    "Messages that Kafka does not take, and those behind. Runbook: RecordsHeld.",
                    "short",
                    "max by (application) (outbox_held)",
                    "{{application}}",
                    limit=1,
                ),
                _worst(
                    "Lanes without an owner [Kafka]",
                    "Lanes that no relay sends. Runbook: LanesWithoutOwner.",
                    "short",
                    "max by (application) (outbox_lanes_without_owner)",
                    "{{application}}",
                    limit=1,
                ),
            ),
        ),
        (
            "Holds back cleaning, or fills up",
            (
                _worst(
                    "Oldest transaction",
                    "Of the whole server, whoever began it. Runbook: OldTransaction.",
                    "s",
                    "max(postgres_oldest_transaction_age_seconds)",
                    "open for",
                    limit=300,
                ),
                _worst(
                    "Oldest snapshot",
                    "How many transactions ago it was taken: rows are kept for it. "
                    "Runbook: OldSnapshot.",
                    "short",
                    "max(postgres_oldest_xmin_age_transactions)",
                    "transactions",
                    limit=10_000_000,
                ),
                _least(
                    "Spare partitions",
                    "Empty partitions ahead of each outbox. Runbook: SparePartitionsMissing.",
                    "min by (application) (outbox_spare_partitions)",
                    "{{application}}",
                    limit=2,
                ),
                _worst(
                    "Disk",
                    "Used share of the fuller disk of the data; writes are refused above 90 %.",
                    "percentunit",
                    "max by (application) (disk_used_ratio)",
                    "{{application}}",
                    limit=0.85,
                ),
                _worst(
                    "Silent readers",
                    "Since each reader of an outbox last reported; it holds back retention. "
                    "Empty with Kafka.",
                    "s",
                    "max by (application, consumer) (outbox_reader_silent_seconds)",
                    "{{consumer}} of {{application}}",
                    limit=86_400,
                ),
                _worst(
                    "Prepared transactions",
                    "Transactions that wait for a second phase. Runbook: PreparedTransaction.",
                    "short",
                    "max(postgres_prepared_transactions)",
                    "prepared",
                    limit=1,
                ),
                _worst(
                    "Age of these figures",
                    "Since the gauges were last brought up to date. Runbook: FiguresOld.",
                    "s",
                    "max by (application, look) (figures_age_seconds)",
                    "{{application}} {{look}}",
                    limit=60,
                ),
                _worst(
                    "Standing loops",
                    "Since the last turn of the loop that stands longest.",
                    "s",
                    "max by (application) (loop_last_progress_age_seconds)",
                    "{{application}}",
                    limit=60,
                ),
            ),
        ),
    ),
)
