"""Databases of one's own are named by the environment, and no secret is anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.databases import urls_of
from waybill.platform.own_databases import SERVICES, OwnDatabases, password_variable, roles_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROLES = [role for service in SERVICES for role in roles_of(service)]
PASSWORDS = {password_variable(role): f"p/{role}@:" for role in ROLES}


def named(given: Mapping[str, str]) -> OwnDatabases:
    """What these variables and all passwords name."""
    own = OwnDatabases.from_environment({**PASSWORDS, **given})
    assert own is not None
    return own


def test_nothing_named_means_the_embedded_server() -> None:
    """Passwords alone, or empty variables as compose files write them, name no database."""
    assert OwnDatabases.from_environment(PASSWORDS) is None
    assert OwnDatabases.from_environment({"POSTGRES_HOST": ""}) is None


def test_one_host_serves_every_database() -> None:
    """Seed 004's POSTGRES_HOST and POSTGRES_PORT; a service's own URL wins."""
    own = named(
        {
            "POSTGRES_HOST": "db.test",
            "POSTGRES_PORT": "6543",
            "WAYBILL_PAYMENT_DATABASE_URL": "postgresql://[::1]/books?sslmode=verify-full",
        }
    )
    order, payment = urls_of(own, "order"), urls_of(own, "payment")
    assert order.owner == ("postgresql://order_owner:p%2Forder_owner%40%3A@db.test:6543/orderdb")
    assert order.service.startswith("postgresql://order_service:")
    assert order.reader.startswith("postgresql://order_reader:")
    assert payment.service.endswith("@[::1]/books?sslmode=verify-full")


def test_d8_a_source_that_is_not_configured_names_kafka_brokers() -> None:
    """Protocol D8: at start, with what to set; nothing that is not used has to be."""
    own = OwnDatabases.from_environment(
        {
            "WAYBILL_ORDER_DATABASE_URL": "postgresql://db.test",
            "WAYBILL_ORDER_SERVICE_PASSWORD": "p",
        }
    )
    assert own is not None
    assert urls_of(own, "order").service == "postgresql://order_service:p@db.test/orderdb"
    with pytest.raises(ConfigurationError, match=r"WAYBILL_ORDER_OWNER_PASSWORD \(or .*_FILE\)$"):
        _ = urls_of(own, "order").owner
    with pytest.raises(ConfigurationError, match="KAFKA_BROKERS") as refused:
        _ = urls_of(own, "inventory").reader
    for variable in ("WAYBILL_INVENTORY_DATABASE_URL", "WAYBILL_INVENTORY_READER_PASSWORD"):
        assert variable in str(refused.value)


def test_a_password_may_come_from_a_file(tmp_path: Path) -> None:
    """As secret managers mount them; the newline at the end is not part of it."""
    file = tmp_path / "password"
    file.write_text("from-a-file\n")
    given = {"POSTGRES_HOST": "db.test", "WAYBILL_ORDER_OWNER_PASSWORD_FILE": str(file)}
    own = OwnDatabases.from_environment(given)
    assert own is not None
    assert urls_of(own, "order").owner == (
        "postgresql://order_owner:from-a-file@db.test:5432/orderdb"
    )
    assert "from-a-file" not in repr(own)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WAYBILL_ORDER_DATABASE_URL": "oracle://db.test/x"}, "begin with postgresql://"),
        ({"WAYBILL_ORDER_DATABASE_URL": "postgresql://me:hush@db.test/x"}, "no user and no pass"),
        ({"WAYBILL_ORDER_DATABASE_URL": "postgresql://h/x?password=hush"}, "no user and no pass"),
        ({"WAYBILL_ORDER_DATABASE_URL": "postgresql:///x"}, "names no host"),
        ({"WAYBILL_ORDER_DATABASE_URL": "postgresql://[::1/x"}, "is no URL"),
        ({"POSTGRES_HOST": "h", "POSTGRES_PORT": "99999"}, "POSTGRES_PORT=99999"),
        (
            {"POSTGRES_HOST": "h", "WAYBILL_ORDER_OWNER_PASSWORD": "changeme"},
            "WAYBILL_ORDER_OWNER_PASSWORD is a password that everybody tries",
        ),
        ({"POSTGRES_HOST": "h", "WAYBILL_ORDER_OWNER_PASSWORD": "hüsh"}, "printable ASCII"),
        (
            {"POSTGRES_HOST": "h", "WAYBILL_ORDER_OWNER_PASSWORD_FILE": "/nowhere"},
            "WAYBILL_ORDER_OWNER_PASSWORD and WAYBILL_ORDER_OWNER_PASSWORD_FILE are both set",
        ),
    ],
)
def test_a_mistake_is_told_without_the_secret(given: dict[str, str], told: str) -> None:
    """At start, by the variable's name; a secret that was put into the wrong place is not shown."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        named(given)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_its_variables_are_known_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in one names the right one; the right ones pass."""
    for variable in PASSWORDS:
        monkeypatch.setenv(variable, "x")
    monkeypatch.setenv("WAYBILL_ORDER_DATABASE_URL", "postgresql://h")
    Settings.load()
    monkeypatch.setenv("WAYBILL_ODER_DATABASE_URL", "postgresql://h")
    with pytest.raises(ConfigurationError, match=r"did you mean WAYBILL_ORDER_DATABASE_URL\?"):
        Settings.load()


def test_urls_of_mariadb_and_mysql() -> None:
    """A URL's scheme chooses the engine; one kind of server for all services."""
    own = named(
        {
            "WAYBILL_ORDER_DATABASE_URL": "mysql://db.test:3306/orders?ssl_ca=/ca.pem",
            "WAYBILL_INVENTORY_DATABASE_URL": "mariadb:///stock?unix_socket=/run/s",
        }
    )
    assert own.on_mysql
    assert own.services == ("order", "inventory", "notification")
    assert urls_of(own, "order").reader == (
        "mysql://order_reader:p%2Forder_reader%40%3A@db.test:3306/orders?ssl_ca=/ca.pem"
    )
    assert "@/stock?unix_socket=/run/s" in urls_of(own, "inventory").owner
    mixed = {
        "WAYBILL_ORDER_DATABASE_URL": "mysql://db.test/orders",
        "POSTGRES_HOST": "db.test",
    }
    with pytest.raises(ConfigurationError, match="keep to one kind"):
        named(mixed)
