"""One process a service on a PostgreSQL server of the user's: no data directory, least rights."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.acceptance.forked import completed
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base

from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.own_databases import (
    SERVICES,
    database_of,
    password_variable,
    roles_of,
    url_variable,
)

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

FORCED = {"WAYBILL_PAYMENT_FORCE_OUTCOME": "success"}
HELD_BY = {
    "order": ("inventory", "payment"),
    "payment": ("order", "inventory", "provider"),
    "inventory": ("order",),
    "notification": ("order",),
}
"""Whose databases each service reaches besides its own; `provider` as its service."""


def environment_of(server: EmbeddedPostgres, *services: str) -> dict[str, str]:
    """Everything of these services, or of all that there always are, as the operator has it."""
    query = urlsplit(server.url()).query
    admin = urlsplit(server.url())
    names = services or SERVICES
    roles = [role for service in names for role in roles_of(service)]
    return {
        **{password_variable(role): secrets.token_urlsafe(16) for role in roles},
        **{url_variable(name): f"postgresql:///{database_of(name)}?{query}" for name in names},
        "POSTGRES_USER": str(admin.username),
        "POSTGRES_PASSWORD": str(admin.password),
    }


def least(service: str, everything: dict[str, str]) -> dict[str, str]:
    """What one service's process needs, and no more (protocol D8: of a source, the reader)."""
    roles = [f"{service}_owner", f"{service}_service"]
    for other in HELD_BY[service]:
        if other == "provider":
            roles += ["provider_owner", "provider_service"]
        else:
            roles.append(f"{other}_reader")
    names = [password_variable(role) for role in roles]
    names += [url_variable(name) for name in (service, *HELD_BY[service])]
    return {**FORCED, **{name: everything[name] for name in names}}


def waybill(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command line."""
    return completed("waybill", *arguments, environment=environment)


def test_orders_end_on_a_server_of_ones_own(data_directory: Path) -> None:
    """R268: provisioned by one command, served by processes that hold their own secrets only."""
    nowhere, base = data_directory / "nowhere", free_port_base()
    with EmbeddedPostgres(data_directory / "theirs") as server, ExitStack() as stack:
        everything = environment_of(server)
        made = waybill(everything, "provision")
        assert made.returncode == 0, made.stderr
        processes = {
            name: stack.enter_context(
                closing(
                    PlatformProcess(
                        nowhere, port_base=base, environment=least(name, everything), service=name
                    ).launch()
                )
            )
            for name in OFFSETS
        }
        for process in processes.values():
            process.wait_ready()
        placed = processes["order"].place("own-1").json()
        assert processes["order"].ended(placed["id"])["status"] == "CONFIRMED"
        ran = waybill(everything, "lag", "--max-rows", "0")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        processes["notification"].stop()
        shut = waybill(everything, "lag", "--within", "0")
        assert shut.returncode == 1
        assert shut.stderr == (
            "waybill: notification-service does not run: nobody reads order-service\n"
        )
        shown = waybill(everything, "psql", "order", "-c", "SELECT status FROM orders")
        assert "CONFIRMED" in shown.stdout
        assert "drop them there yourself" in waybill(everything, "reset", "--yes").stderr
        assert not nowhere.exists()
        for process in processes.values():
            process.stop()
        place = ["--data", str(data_directory / "log"), "--port-base", str(base)]
        assert waybill(everything, "up", "--detach", *place).returncode == 0
        again = processes["order"].place("own-1")
        assert (again.status_code, again.json()["id"]) == (200, placed["id"])
        assert "stopped" in waybill(everything, "down", *place).stdout
        assert "embedded" in waybill(everything, "bench").stderr


def test_a_process_without_its_source_says_so(data_directory: Path) -> None:
    """Protocol D8: a source that is not configured is an error at start, which names Kafka."""
    given = {
        "WAYBILL_ORDER_DATABASE_URL": "postgresql://127.0.0.1:9/orderdb",
        "WAYBILL_PORT_BASE": str(free_port_base()),
    }
    ran = waybill(given, "--data", str(data_directory), "serve", "order")
    assert ran.returncode == 1
    assert "KAFKA_BROKERS" in ran.stderr
    assert "_READER_PASSWORD" in ran.stderr


def test_a_blueprint_that_cannot_run_there_says_so_first(data_directory: Path) -> None:
    """A payment service has no tables on MariaDB: told at once, though the server is away."""
    given = {
        "WAYBILL_BLUEPRINT": "checkout",
        "WAYBILL_ORDER_DATABASE_URL": "mysql://127.0.0.1:9/orderdb",
        "WAYBILL_PORT_BASE": str(free_port_base()),
    }
    ran = waybill(given, "--data", str(data_directory), "serve", "order")
    assert ran.returncode == 1
    assert ran.stderr.startswith("waybill: the blueprint checkout needs PostgreSQL"), ran.stderr
