"""What compose.yaml starts, without containers: its environments on a real PostgreSQL and Kafka."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.kafka.broker import running_broker

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.own_databases import SERVICES, database_of, url_variable
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from tests.deployment.reading import Services

BEHIND = "waybill: notification-service is 2 messages behind order-service, more than 0"
"""OrderCreated, which it leaves out, and OrderConfirmed."""
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


def run(environment: dict[str, str], *command: str | Path) -> subprocess.CompletedProcess[str]:
    """One command line to its end."""
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_containers_environments_carry_orders(
    containers: Services, dot_env: dict[str, str], data_directory: Path
) -> None:
    """R262, R263: services with their own secrets only meet on Kafka; orders end, the gate opens.

    The script makes the databases, the audit is clean, and a service that is stopped is told.
    """
    base = free_port_base()
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(data_directory / "theirs"))
        broker = stack.enter_context(running_broker(data_directory / "kafka"))
        query = urlsplit(server.url()).query
        here = {
            **{
                url_variable(name): f"postgresql:///{database_of(name)}?{query}"
                for name in SERVICES
            },
            "KAFKA_BROKERS": broker.bootstrap,
        }
        psql = installed_programs() / "psql"
        script = ROOT / "infra/init-databases.sql"
        given = {key: str(text) for key, text in containers["postgres"]["environment"].items()}
        made = run(given, psql, "--no-psqlrc", "--dbname", server.url(), "--file", script)
        assert made.returncode == 0, made.stderr
        processes = {}
        for service, plan in plans_of(CHOREOGRAPHY).items():
            container = containers[plan.name]["environment"]
            environment = {
                **{key: str(text) for key, text in container.items()},
                **here,
                "OTEL_SDK_DISABLED": "true",
                "PYTHONFAULTHANDLER": "1",
                "WAYBILL_HOST": "127.0.0.1",
                "WAYBILL_PORT_BASE": str(base),
                "PAYMENT_SIMULATE_FORCEOUTCOME": "success",
            }
            process = PlatformProcess(
                data_directory / "none", port_base=base, environment=environment, service=service
            )
            processes[service] = stack.enter_context(closing(process)).launch()
        for process in processes.values():
            process.wait_ready()
        placed = [processes["order"].place(f"container-{n}").json()["id"] for n in range(20)]
        for order_id in placed:
            assert processes["order"].ended(order_id)["status"] == "CONFIRMED"
        operator = {**dot_env, **here}
        waybill = (sys.executable, "-m", "waybill")
        for command in (["lag", "--max-rows", "0"], ["audit", "--settle", "60"]):
            ran = run(operator, *waybill, *command)
            assert ran.returncode == 0, ran.stdout + ran.stderr
        assert processes["notification"].stop() == 0
        processes["order"].place("container-behind")

        def is_told() -> bool:
            shut = run(operator, *waybill, "lag", "--max-rows", "0", "--within", "0")
            assert shut.returncode == 1
            return BEHIND in shut.stderr

        wait_for(is_told, 60, "a service that reads nothing is told")
