"""A MariaDB server of one's own: databases, users and rights are made, and are the least."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.acceptance.engines import on_mariadb

from waybill.blueprints.catalogue import EVERY, blueprint_named
from waybill.messaging.adapters.mysql.migrate import fetch_once
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.operations.audit import AuditOptions
from waybill.platform.databases import urls_of
from waybill.platform.mirror import audit_mirrored
from waybill.platform.own_databases import OwnDatabases, database_of
from waybill.platform.own_server import Administrator, prepare, provision_server, upgrade

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint
    from waybill.platform.databases import ServiceUrls

MAY = {
    "service": (
        "SELECT count(*) FROM app_orders",
        "UPDATE app_orders SET asks = 1 WHERE id = x'00'",
        "SELECT lane FROM messaging_outbox_lock WHERE lane = 3 FOR UPDATE",
        "DELETE FROM messaging_outbox_reader WHERE consumer = 'none'",
    ),
    "reader": (
        "SELECT count(*) FROM messaging_outbox",
        "SELECT horizon FROM messaging_outbox_meta LOCK IN SHARE MODE",
        "UPDATE messaging_outbox_reader SET seen_at = NOW(6) WHERE consumer = 'none'",
    ),
    "auditor": ("SELECT count(*) FROM app_orders", "SELECT count(*) FROM messaging_inbox"),
}
MAY_NOT = {
    "service": (
        "CREATE TABLE mine (n int)",
        "DROP TABLE app_orders",
        "DELETE FROM app_orders",
        "UPDATE messaging_outbox SET topic = 'another'",
        "DELETE FROM messaging_outbox",
    ),
    "reader": (
        "SELECT count(*) FROM app_orders",
        "SELECT count(*) FROM messaging_inbox",
        "DELETE FROM messaging_outbox_reader",
    ),
    "auditor": ("UPDATE app_orders SET asks = 1", "DELETE FROM messaging_inbox"),
}


@pytest.fixture
async def own(mariadb_url: str) -> OwnDatabases:
    """Databases that `waybill provision` has made."""
    environment = on_mariadb(mariadb_url)
    made = OwnDatabases.from_environment(environment)
    assert made is not None
    administrator = Administrator.from_environment(environment, on_mysql=True)
    for _ in range(2):  # it may be repeated
        await provision_server(made, administrator, ["order"], progress=lambda _: None)
    return made


def databases_of_services(blueprint: Blueprint) -> set[str]:
    """Whose databases its services have."""
    return {service.database for service in blueprint.services.values()}


def _url(urls: ServiceUrls, role: str) -> str:
    found: str = getattr(urls, role)
    return found


async def test_roles_may_what_they_need_and_no_more(own: OwnDatabases) -> None:
    """Least rights: no DDL, no past rewritten, of another service the outbox only."""
    urls = urls_of(own, "order")
    for role, statements in MAY.items():
        for statement in statements:
            await fetch_once(_url(urls, role), statement)
    for role, statements in MAY_NOT.items():
        for statement in statements:
            with pytest.raises(TransientError, match="denied"):
                await fetch_once(_url(urls, role), statement)
    foreign = own.url(database_of("order"), "order_service").replace("order_service", "nobody")
    with pytest.raises(TransientError, match="denied"):
        await fetch_once(foreign, "SELECT 1")


async def test_what_waiting_does_not_mend_is_one_line(own: OwnDatabases) -> None:
    """A wrong password, a database that nobody made, a service without tables here."""
    wrong = replace(own, passwords={**own.passwords, "order_owner": "another"})
    with pytest.raises(ConfigurationError, match="refuses order_owner"):
        await upgrade(wrong, "order")
    place = own.places[database_of("order")]
    name = urlsplit(place).path.lstrip("/")
    places = {**own.places, database_of("order"): place.replace(name, "nowhere")}
    with pytest.raises(ConfigurationError, match="provision"):
        await upgrade(replace(own, places=places), "order")
    with pytest.raises(ConfigurationError, match="payment service needs PostgreSQL"):
        await upgrade(own, "payment")


async def test_c42_a_database_remembers_its_blueprint(own: OwnDatabases) -> None:
    """Contracts C42: data of one blueprint are never given to another."""
    for _ in range(2):
        await upgrade(own, "order", blueprint_named("reservation"))
    with pytest.raises(ConfigurationError, match="holds data of the blueprint 'reservation'"):
        await upgrade(own, "order", blueprint_named("choreography"))


def _fails(line: str) -> None:
    raise AssertionError(f"it waits, which cannot help: {line}")


async def test_c42_no_database_is_claimed_for_a_blueprint_that_cannot_run_here(
    own: OwnDatabases,
) -> None:
    """Each that needs payment is refused before anything is touched; another may have it then."""
    paying = [each for each in EVERY.values() if "payment" in databases_of_services(each)]
    assert {each.name for each in paying} == set(EVERY) - {"notify", "reservation"}
    nowhere = replace(own, places={"orderdb": "mysql:///x?unix_socket=/nowhere"})
    for blueprint in paying:
        for databases in (own, nowhere):
            with pytest.raises(ConfigurationError, match=f"{blueprint.name} needs PostgreSQL"):
                await prepare(databases, ["order"], blueprint=blueprint, progress=_fails)
    await prepare(own, ["order"], blueprint=blueprint_named("reservation"), progress=_fails)


@pytest.mark.long
async def test_the_audit_finds_on_mariadb_what_it_finds_on_postgresql(mariadb_url: str) -> None:
    """Its rules are the same: a unit that no ledger entry brought is named; without it all hold."""
    environment = on_mariadb(mariadb_url)
    own = OwnDatabases.from_environment(environment)
    assert own is not None
    administrator = Administrator.from_environment(environment, on_mysql=True)
    await provision_server(own, administrator, own.services, progress=lambda _: None)
    options = AuditOptions(blueprint=blueprint_named("reservation"))
    change = "UPDATE app_products SET available = available {} WHERE name = 'USB-C Hub'"
    owner = urls_of(own, "inventory").owner
    await fetch_once(owner, change.format("+ 1"))
    report = await audit_mirrored(own, options, lambda _: None)
    assert {rule.id for rule in report.rules if rule.violations} == {"I30", "I31"}
    await fetch_once(owner, change.format("- 1"))
    report = await audit_mirrored(own, options, lambda _: None)
    assert report.exit_status == 0, [rule for rule in report.rules if rule.violations]
    assert report.quiescent
