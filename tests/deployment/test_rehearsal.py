"""What compose.yaml starts, without containers: its environments on a real PostgreSQL and Kafka."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.kafka.broker import running_broker

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT, WITH_PAYMENT
from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.embedded.binaries import installed_programs
from waybill.platform.env_file import DATABASES
from waybill.platform.own_databases import database_of, url_variable
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployment.reading import Services

    from waybill.blueprints.definition import Blueprint

BEHIND = "waybill: notification-service is 2 messages behind order-service, more than 0"
"""OrderCreated, which it leaves out, and OrderConfirmed."""
ROOT = Path(__file__).parents[2]
WAYBILL = (sys.executable, "-m", "waybill")
OTHERS = [each for each in (*BLUEPRINTS.values(), *WITH_PAYMENT.values()) if each is not DEFAULT]
ENDED = "SELECT status, count(*) FROM app.orders GROUP BY status"

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


@contextmanager
def rehearsed(
    containers: Services, dot_env: dict[str, str], directory: Path, blueprint: Blueprint
) -> Iterator[tuple[dict[str, PlatformProcess], dict[str, str]]]:
    """Every service with its container's environment, and an operator's: with .env as it is here.

    On databases that the shipped script made.
    """
    base = free_port_base()
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres(directory / "theirs"))
        broker = stack.enter_context(running_broker(directory / "kafka"))
        query = urlsplit(server.url()).query
        here = {
            **{
                url_variable(name): f"postgresql:///{database_of(name)}?{query}"
                for name in DATABASES
            },
            "KAFKA_BROKERS": broker.bootstrap,
            "WAYBILL_BLUEPRINT": blueprint.name,
            "WAYBILL_PORT_BASE": str(base),
            "WAYBILL_DATA_DIRECTORY": str(directory / "none"),
        }
        script = ROOT / "infra/init-databases.sql"
        given = {key: str(text) for key, text in containers["postgres"]["environment"].items()}
        psql = (installed_programs() / "psql", "--no-psqlrc", "--dbname", server.url())
        made = run(given, *psql, "--file", script)
        assert made.returncode == 0, made.stderr
        processes = {}
        for service, plan in plans_of(blueprint).items():
            container = containers[plan.name]["environment"]
            environment = {
                **{key: str(text) for key, text in container.items()},
                **here,
                "OTEL_SDK_DISABLED": "true",
                "PYTHONFAULTHANDLER": "1",
                "WAYBILL_HOST": "127.0.0.1",
                "WAYBILL_PAYMENT_URL": f"http://127.0.0.1:{base + 2}",
                "NOTIFY_URL": f"http://127.0.0.1:{base + 4}",
                "PAYMENT_SIMULATE_FORCEOUTCOME": "success",
            }
            process = PlatformProcess(
                directory / "none", port_base=base, environment=environment, service=service
            )
            processes[service] = stack.enter_context(closing(process)).launch()
        for process in processes.values():
            process.wait_ready()
        yield processes, {**dot_env, **here}


def test_the_containers_environments_carry_orders(
    containers: Services, dot_env: dict[str, str], data_directory: Path
) -> None:
    """R262, R263: services with their own secrets only meet on Kafka; orders end, the gate opens.

    The script makes the databases, the audit is clean, and a service that is stopped is told.
    """
    with rehearsed(containers, dot_env, data_directory, DEFAULT) as (processes, operator):
        placed = [processes["order"].place(f"container-{n}").json()["id"] for n in range(20)]
        for order_id in placed:
            assert processes["order"].ended(order_id)["status"] == "CONFIRMED"
        for command in (["lag", "--max-rows", "0"], ["audit", "--settle", "60"]):
            ran = run(operator, *WAYBILL, *command)
            assert ran.returncode == 0, ran.stdout + ran.stderr
        assert processes["notification"].stop() == 0
        processes["order"].place("container-behind")

        def is_told() -> bool:
            shut = run(operator, *WAYBILL, "lag", "--max-rows", "0", "--within", "0")
            assert shut.returncode == 1
            return BEHIND in shut.stderr

        wait_for(is_told, 60, "a service that reads nothing is told")


@pytest.mark.parametrize("blueprint", OTHERS, ids=lambda blueprint: blueprint.name)
def test_the_containers_of_other_blueprints_carry_orders(
    containers: Services, dot_env: dict[str, str], data_directory: Path, blueprint: Blueprint
) -> None:
    """R259, R267: so do the services that the profile of each other blueprint starts."""
    with rehearsed(containers, dot_env, data_directory, blueprint) as (_, operator):
        commands = (["seed", "--orders", "20"], ["lag", "--max-rows", "0", "--within", "60"])
        for command in (*commands, ["audit", "--settle", "60"]):
            ran = run(operator, *WAYBILL, *command)
            assert ran.returncode == 0, ran.stdout + ran.stderr
        counted = run(operator, *WAYBILL, "psql", "order", "-c", ENDED)
        assert counted.returncode == 0, counted.stderr
        assert blueprint.order_process.confirmed.status in counted.stdout
        assert "20" in counted.stdout
