"""Alerts as written, by promtool: each fires for its own fault, alone, and none for health."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import yaml
from scripts.kafka.machine import program
from tests.observability.files import RULES, SERVICES, alerts, selectors, without_threshold

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = 20
"""Long enough for the slowest alert, whose range and whose time to wait are ten minutes."""
FILES = ("prometheus.yml", "local.yml")
LAG = 'kafka_consumergroup_lag{group="notification-service",topic="order-events",'
BUCKET = 'http_server_requests_seconds_bucket{application="order-service",uri="/api/orders",'
HEALTHY = {
    'up{job="order-service"}': "1",
    'up{job="notification-service"}': "1",
    'database_up{application="order-service"}': "1",
    'database_up{application="payment-service"}': "1",
    'figures_age_seconds{application="order-service",look="backlog"}': "3",
    'loop_last_progress_age_seconds{application="order-service",loop="order-service"}': "1",
    'loop_halted{application="order-service",loop="order-service"}': "0",
    'kafka_consumergroup_lag_seconds{group="notification-service",topic="order-events"}': "1",
    f'{LAG}partition="1"}}': "9",
    f'{LAG}partition="2"}}': "9",
    'messaging_retries_total{group="order-service",reason="TransientError"}': "0",
    'messaging_retries_total{group="order-service",reason="LeaseLostError"}': "0",
    'outbox_reader_silent_seconds{application="order-service",consumer="payment-service"}': "5",
    'messaging_dead_letters_open{consumer="order-service"}': "0",
    'outbox_spare_partitions{application="order-service"}': "2",
    'saga_oldest_active_age_seconds{saga="choreography"}': "900",
    'deliveries_waiting{kind="charge",state="parked"}': "0",
    'deliveries_waiting{kind="charge",state="pending"}': "40",
    'deliveries_unknown{kind="charge"}': "0",
    'circuit_breaker_state{name="charge",state="closed"}': "1",
    'intake_refused_total{application="order-service",reason="load"}': "0",
    'http_server_requests_seconds_count{application="order-service",status="200"}': "0+10x200",
    f'{BUCKET}le="0.5"}}': "0+10x200",
    f'{BUCKET}le="+Inf"}}': "0+10x200",
    'kafka_up{application="order-service"}': "1",
    'outbox_oldest_unsent_age_seconds{application="order-service"}': "0.2",
    'outbox_held{application="order-service"}': "0",
    'outbox_lanes_without_owner{application="order-service"}': "0",
    "postgres_oldest_transaction_age_seconds": "2",
    "postgres_oldest_xmin_age_transactions": "4000",
    "postgres_prepared_transactions": "0",
    'disk_used_ratio{application="order-service"}': "0.8",
    'audit_violations{rule="I30"}': "0",
    "audit_finished_timestamp_seconds": "0",
}
FAULTS: dict[str, dict[str, str]] = {
    # A service that is down reads nothing: its lag tells nothing new.
    "ServiceDown": {
        'up{job="notification-service"}': "0",
        'kafka_consumergroup_lag_seconds{group="notification-service",topic="order-events"}': "700",
    },
    # Nobody can look, every loop waits, every unit rolls back.
    "DatabaseDown": {
        'database_up{application="order-service"}': "0",
        'figures_age_seconds{application="order-service",look="backlog"}': "700",
        'loop_last_progress_age_seconds{application="order-service",loop="order-service"}': "700",
        'messaging_retries_total{group="order-service",reason="TransientError"}': "0+1x200",
        'kafka_consumergroup_lag_seconds{group="notification-service",topic="order-events"}': "700",
    },
    "FiguresOld": {'figures_age_seconds{application="order-service",look="backlog"}': "90"},
    "LoopStands": {
        'loop_last_progress_age_seconds{application="order-service",loop="order-service"}': "90"
    },
    "LoopHalted": {'loop_halted{application="order-service",loop="order-service"}': "1"},
    "MessagesWait": {
        'kafka_consumergroup_lag_seconds{group="notification-service",topic="order-events"}': "90"
    },
    "ConsumerBehind": {
        f'{LAG}partition="1"}}': "30000",
        f'{LAG}partition="2"}}': "30000",
    },
    "RetriesGoOn": {
        'messaging_retries_total{group="order-service",reason="TransientError"}': "0+1x200"
    },
    "LeasesLost": {
        'messaging_retries_total{group="order-service",reason="LeaseLostError"}': "0+1x200"
    },
    "ReaderSilent": {
        'outbox_reader_silent_seconds{application="order-service",consumer="payment-service"}': (
            "90000"
        )
    },
    "DeadLettersOpen": {'messaging_dead_letters_open{consumer="order-service"}': "1"},
    "SparePartitionsMissing": {'outbox_spare_partitions{application="order-service"}': "1"},
    "OrdersStuck": {'saga_oldest_active_age_seconds{saga="choreography"}': "1300"},
    "DeliveriesParked": {'deliveries_waiting{kind="charge",state="parked"}': "1"},
    "OutcomesUnknown": {'deliveries_unknown{kind="charge"}': "1"},
    "BreakerOpen": {'circuit_breaker_state{name="charge",state="closed"}': "0"},
    "IntakeRefuses": {
        'intake_refused_total{application="order-service",reason="load"}': "0+60x200"
    },
    "ErrorsAnswered": {
        'http_server_requests_seconds_count{application="order-service",status="500"}': "0+1x200"
    },
    "AnswersSlow": {
        f'{BUCKET}le="0.5"}}': "0x200",
        f'{BUCKET}le="2.5"}}': "0+10x200",
    },
    "OldTransaction": {"postgres_oldest_transaction_age_seconds": "400"},
    "OldSnapshot": {"postgres_oldest_xmin_age_transactions": "20000000"},
    "PreparedTransaction": {"postgres_prepared_transactions": "1"},
    # What cannot be sent waits, lanes are let go, loops try again and again.
    "KafkaDown": {
        'figures_age_seconds{application="order-service",look="kafka"}': "700",
        'kafka_up{application="order-service"}': "0",
        'outbox_oldest_unsent_age_seconds{application="order-service"}': "700",
        'outbox_lanes_without_owner{application="order-service"}': "17",
        'loop_last_progress_age_seconds{application="order-service",loop="order-service"}': "700",
        'messaging_retries_total{group="order-service",reason="TransientError"}': "0+1x200",
        'kafka_consumergroup_lag_seconds{group="notification-service",topic="order-events"}': "700",
    },
    "OutboxUnsent": {'outbox_oldest_unsent_age_seconds{application="order-service"}': "90"},
    "RecordsHeld": {'outbox_held{application="order-service"}': "2"},
    "LanesWithoutOwner": {'outbox_lanes_without_owner{application="order-service"}': "1"},
    "AuditViolated": {'audit_violations{rule="I30"}': "1"},
    "AuditOld": {"audit_finished_timestamp_seconds": "-9000"},
    "DiskFills": {'disk_used_ratio{application="order-service"}': "0.88"},
}


def case(name: str, fires: set[str], changed: dict[str, str]) -> dict[str, object]:
    """One of promtool's tests: these series for so long, then exactly these alerts fire."""
    series = {**HEALTHY, **changed}
    return {
        "name": name,
        "interval": "15s",
        "input_series": [
            {"series": name, "values": values if "x" in values else f"{values}x{MINUTES * 4}"}
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in fires
                ],
            }
        ],
    }


def run(directory: Path, *cases: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Promtool's word on these."""
    tests = directory / "tests.yml"
    rules = [str(path) for path in sorted(RULES.glob("*.yml"))]
    tests.write_text(
        yaml.safe_dump({"rule_files": rules, "evaluation_interval": "15s", "tests": list(cases)})
    )
    return subprocess.run(
        [program("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )


def test_each_fault_fires_its_alert_and_nothing_else(tmp_path: Path) -> None:
    """The cause is told once, what follows from it is not told as well; health wakes nobody."""
    faults = [case(alert, {alert}, changed) for alert, changed in FAULTS.items()]
    done = run(tmp_path, case("health", set(), {}), *faults)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_fault() -> None:
    """No alert is there that was never seen to fire."""
    assert {alert.name for alert in alerts()} == set(FAULTS)


def test_configurations_are_what_prometheus_takes() -> None:
    """Promtool accepts both configurations and every rule."""
    for name in FILES:
        done = subprocess.run(
            [program("promtool"), "check", "config", RULES.parent / name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_local_configuration_differs_by_its_targets_only() -> None:
    """What is tried on a machine is what runs in containers of the default blueprint."""
    inside, local = (yaml.safe_load((RULES.parent / name).read_text()) for name in FILES)
    (job,) = inside.pop("scrape_configs")
    wanted = {
        group["labels"]["job"]: group["targets"][0].replace(group["labels"]["job"], "localhost")
        for group in yaml.safe_load(SERVICES.read_text())
    }
    found = {}
    for each in local.pop("scrape_configs"):
        (found[each.pop("job_name")],) = each.pop("static_configs")[0]["targets"]
        assert each == {"metrics_path": job["metrics_path"]}
    assert found == wanted
    assert inside == local


def test_expressions_are_taken_apart_rightly() -> None:
    """The live test asks Prometheus for every series of an expression, and for no word of it."""
    expression = (
        'max by (job) (up{job="a)}"}) > 60 unless on (group) label_replace('
        'max by (job) (rate(x_total{a=~"b.*"}[5m])) == 0, "group", "$1", "job", "(.+)")'
    )
    assert selectors(expression) == {'up{job="a)}"}', 'x_total{a=~"b.*"}'}
    assert without_threshold(expression) == 'max by (job) (up{job="a)}"})'
