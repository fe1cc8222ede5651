"""The `.env` of compose.yaml and of processes without containers: every variable, random secrets.

It is never overwritten: it may hold the only copy of the passwords of databases that exist.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from waybill.blueprints.catalogue import DEFAULT
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.own_databases import SERVICES, password_variable, roles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET_BYTES: Final = 24

REDIS: Final = {"REDIS_HOST": "", "REDIS_PORT": "6379"}
SMTP: Final = {
    "SMTP_HOST": "",
    "SMTP_PORT": "587",
    "SMTP_USER": "",
    "SMTP_PASSWORD": "",
    "SMTP_TLS": "",
    "FROM_EMAIL": "orders@example.com",
}
"""Seed 004's names, and how mail is encrypted. Empty hosts: no cache, and mails go to the log."""

PROVIDER: Final = (
    "PAYMENT_PROVIDER_URL",
    "PAYMENT_PROVIDER_NAME",
    "PAYMENT_PROVIDER_TOKEN",
    "PAYMENT_WEBHOOK_SECRETS",
)
NOTIFIED: Final = ("NOTIFY_URL", "NOTIFY_TOKEN")

DATABASES: Final = (*SERVICES, "orchestrator")
"""Those of every blueprint: PostgreSQL's container makes them when its volume is made."""


def lines(secret: Callable[[], str], blueprint: str = DEFAULT.name) -> Iterator[str]:
    """The file's lines; `secret` gives each password."""
    yield "# Written by `make env`. Keep it secret. compose.yaml reads it; without containers:"
    yield "#   set -a; . ./.env; set +a; .venv/bin/waybill serve order"
    yield ""
    yield "# One of `waybill blueprints`; and the profiles of containers, with commas between:"
    yield "# the blueprint's, and redis, mail, audit, tools or collector as you like"
    yield f"WAYBILL_BLUEPRINT={blueprint}"
    yield f"COMPOSE_PROFILES={blueprint}"
    yield ""
    yield "# checkout would ask for tokens: there is no container for accounts and gateway"
    yield "WAYBILL_EDGE=false"
    yield ""
    yield "# Kafka as this machine sees it; containers use kafka:9092"
    yield "KAFKA_BROKERS=localhost:29092"
    yield "KAFKA_SECURITY_PROTOCOL=PLAINTEXT"
    yield "# Members of its group that a consumer has in one process (empty: 1), more where units"
    yield "# wait; SPRING_KAFKA_LISTENER_CONCURRENCY in its place does as well"
    yield "KAFKA_CONCURRENCY="
    yield ""
    yield "# PostgreSQL as this machine sees it, and who may make roles and databases there"
    yield "POSTGRES_HOST=localhost"
    yield "POSTGRES_PORT=5432"
    yield "POSTGRES_DB=postgres"
    yield "POSTGRES_USER=administrator"
    yield f"POSTGRES_PASSWORD={secret()}"
    for service in DATABASES:
        yield ""
        yield f"# The roles of {service}'s database"
        for role in roles_of(service):
            yield f"{password_variable(role)}={secret()}"
    yield ""
    yield "# Grafana's user admin"
    yield f"GRAFANA_PASSWORD={secret()}"
    yield ""
    yield "# /audit/audit.prom with the profile audit: its audits are among the metrics, for alerts"
    yield "WAYBILL_AUDIT_FILE="
    yield ""
    yield "# A cache in front of the databases, if REDIS_HOST names one"
    yield from (f"{name}={value}" for name, value in REDIS.items())
    yield ""
    yield "# Mail to customers, if SMTP_HOST names a server; else it is a line in the log"
    yield "# (the profile mail: SMTP_HOST=mail, SMTP_PORT=1025, SMTP_TLS=none)"
    yield from (f"{name}={value}" for name, value in SMTP.items())
    yield ""
    yield "# A payment provider of yours in place of the simulator"
    yield from (f"{name}=" for name in PROVIDER)
    yield ""
    yield "# Whom `notify` notifies, if not its own notification service"
    yield from (f"{name}=" for name in NOTIFIED)


def write(path: Path, blueprint: str = DEFAULT.name) -> None:
    """Make the file, for its owner's eyes only. Raises ConfigurationError if it is there."""
    text = "\n".join(lines(lambda: secrets.token_urlsafe(SECRET_BYTES), blueprint)) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already and is left as it is: it may hold the passwords of databases "
            "that exist; move it away to have a new one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
