"""A customer's data: exported whole, erased everywhere; prices that orders are held to.

Canaries stand in every field that takes something personal. After the erasure no row of any table
of any database holds one, and no log ever did.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import pytest
from tests.acceptance.database import rows, url_of
from tests.acceptance.processes import MOUSE, PlatformProcess, free_port_base, wait_for
from tests.acceptance.stages import STAGES
from tests.acceptance.test_poison import POISON

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.lanes import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance
CANARY = "canary"
EMAIL = "canary.ada@example.org"
PASSWORD = "correct horse canary staple"  # noqa: S105 - of a test
CUSTOMER = {"name": "Canaryna Lovelace", "email": EMAIL, "phone": "+44 20 7946 canary1"}
ADDRESS = {
    "addressLine1": "7 Canary Wharf",
    "addressLine2": "canary staircase",
    "city": "Canaryton",
    "state": "Canaria",
    "zipCode": "CANARY-1",
    "country": "canaryland",
}
ORDERS = "/api/v1/orders"
LETTERS = "SELECT 1 FROM messaging.dead_letters"
TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


def _started(
    session_directory: Path, provisioned_data: Path, name: str, **environment: str
) -> Iterator[PlatformProcess]:
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-customers-", dir=session_directory))
    directory.chmod(0o711)
    STAGES[name].copy(provisioned_data, directory / "data")
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment={"WAYBILL_BLUEPRINT": name, "WAYBILL_LOG_LEVEL": "debug", **environment},
    )
    if name == "reservation":
        platform.without = frozenset({"payment"})
    try:
        yield platform.start()
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def checkout(session_directory: Path, provisioned_data: Path) -> Iterator[PlatformProcess]:
    """Seed 002's platform: accounts, addresses, and a price list."""
    yield from _started(
        session_directory,
        provisioned_data,
        "checkout",
        WAYBILL_ACCOUNTS="true",
        WAYBILL_PRICES="catalogue",
        WAYBILL_PAYMENT_FORCE_OUTCOME="success",
    )


@pytest.fixture(scope="module")
def reservation(session_directory: Path, provisioned_data: Path) -> Iterator[PlatformProcess]:
    """Seed 001's platform, whose events name their customer by an address."""
    yield from _started(session_directory, provisioned_data, "reservation")


def found(platform: PlatformProcess, *words: str) -> set[str]:
    """Every table of every database with a row that holds one of these, whole rows as text."""

    async def search() -> set[str]:
        hits: set[str] = set()
        everywhere = await asyncpg.connect(url_of(platform.data, "order"))
        databases = await everywhere.fetch("SELECT datname FROM pg_database WHERE datallowconn")
        await everywhere.close()
        for (database,) in databases:
            url = url_of(platform.data, "order").replace("/orderdb", f"/{database}")
            # Bytes as letters, or no search would see what stands in a payload.
            there = await asyncpg.connect(url, server_settings={"bytea_output": "escape"})
            for (table,) in await there.fetch(TABLES):
                for word in words:
                    statement = f"SELECT EXISTS (SELECT FROM {table} t WHERE t::text ILIKE $1)"  # noqa: S608 - names out of the catalogue
                    if await there.fetchval(statement, f"%{word}%"):
                        hits.add(f"{database} {table}")
            await there.close()
        return hits

    return asyncio.run(search())


def logs(platform: PlatformProcess) -> str:
    """What the platform and its PostgreSQL wrote."""
    files = [platform.log, *platform.data.rglob("*.log")]
    return "\n".join(path.read_text(errors="replace") for path in files).lower()


def signed_in(platform: PlatformProcess) -> tuple[str, dict[str, str]]:
    """The id of an account, and the header that shows its token; operator, too."""
    auth, credentials = f"{platform.url(6)}/api/v1/auth", {"email": EMAIL, "password": PASSWORD}
    account = wait_for(lambda: _registered(platform, auth, credentials), 30, "an account")
    told = platform.run("accounts", "roles", EMAIL, "customer", "operator")
    assert told.returncode == 0, told.stderr
    token = platform.client.post(f"{auth}/login", json=credentials).json()["accessToken"]
    return account, {"Authorization": f"Bearer {token}"}


def _registered(platform: PlatformProcess, auth: str, credentials: dict[str, str]) -> str:
    try:
        answer = platform.client.post(f"{auth}/register", json=credentials)
    except httpx2.TransportError:
        return ""
    return str(answer.json()["id"]) if answer.status_code == 201 else ""


def place(
    platform: PlatformProcess, key: str, price: str, headers: dict[str, str]
) -> httpx2.Response:
    """POST one order of Ada's."""
    return platform.client.post(
        platform.url(1) + ORDERS,
        json={
            "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": price}],
            "customer": CUSTOMER,
            "deliveryAddress": ADDRESS,
        },
        headers={"Idempotency-Key": key, **headers},
    )


def set_price(platform: PlatformProcess, price: str) -> None:
    """`waybill prices set`."""
    told = platform.run("prices", "set", MOUSE, price)
    assert (told.returncode, told.stdout) == (0, f"{MOUSE}: {price} EUR\n"), told.stderr


def clean_audit(platform: PlatformProcess) -> None:
    """The books are as they must be."""
    audited = platform.run("audit", "--settle", "30")
    assert audited.returncode == 0, audited.stdout + audited.stderr


def plant(platform: PlatformProcess, name: str, *consumers: str) -> None:
    """A poison event that names Ada, as dead letters of these, which somebody then discards."""
    message_id, key = new_id(), str(new_id())
    value = json.dumps({"orderId": 1, "to": EMAIL, "detail": f"for {name}"})
    poison = POISON.replace("OrderConfirmed", "order.created").replace(
        "order-events", "order.created"
    )
    given = (message_id, key, lane_of(key), value.encode())
    rows(platform.data, "order", poison, *given)
    for consumer in consumers:
        await_letter(platform, consumer.removesuffix("-service"))
        why = ("--why", f"a mistake of {name}")
        judged = platform.run("dead-letters", "discard", consumer, str(message_id), *why)
        assert judged.returncode == 0, judged.stderr


def await_letter(platform: PlatformProcess, service: str) -> None:
    """Wait until the service has a dead letter."""
    wait_for(lambda: rows(platform.data, service, LETTERS), 30, f"a dead letter of {service}")


def test_orders_are_held_to_the_price_list_and_customers_are_erased(
    checkout: PlatformProcess,
) -> None:
    """409 price_changed; export, refusal while under way, erasure, clean books."""
    account, token = signed_in(checkout)
    contact = f"{checkout.url(4)}/api/v1/contacts/{account}"
    put = checkout.client.put(contact, json={"email": "canary.post@example.org"}, headers=token)
    assert put.status_code == 200, put.text

    unknown = place(checkout, "k-0", "29.99", token)
    assert (unknown.status_code, unknown.json()["code"]) == (409, "price_unknown")
    set_price(checkout, "29.99")
    placed = place(checkout, "k-1", "29.990", token)
    assert (placed.status_code, placed.json()["status"]) == (201, "CONFIRMED"), placed.text
    order_id = placed.json()["orderId"]
    set_price(checkout, "31.50")
    again = place(checkout, "k-1", "29.990", token)
    assert (again.status_code, again.content) == (201, placed.content)
    changed = place(checkout, "k-2", "29.99", token)
    assert (changed.status_code, changed.json()["code"]) == (409, "price_changed")
    assert changed.json()["errors"] == [
        {"detail": f"Product {MOUSE} costs 31.50 EUR", "pointer": "#/items/0"}
    ]
    assert place(checkout, "k-2", "31.5", token).status_code == 201, "the key stayed free"
    assert len(rows(checkout.data, "order", "SELECT FROM app.orders")) == 2

    plant(checkout, CUSTOMER["name"], "inventory-service", "notification-service")
    told = json.loads(checkout.run("customers", "export", EMAIL).stdout)
    assert told["accounts"][0]["email"] == EMAIL
    assert [each["email"] for each in told["contacts"]] == ["canary.post@example.org"]
    assert {each["id"] for each in told["orders"]} >= {order_id}
    assert told["orders"][0]["particulars"] == {"customer": CUSTOMER, "deliveryAddress": ADDRESS}
    assert {each["status"] for each in told["payments"]} == {"SUCCEEDED"}
    assert PASSWORD not in json.dumps(told)
    assert "argon2" not in json.dumps(told)

    under_way = "UPDATE app.orders SET settled_at = NULL, ask_at = 'infinity' WHERE id = $1::uuid"
    ended = "UPDATE app.orders SET settled_at = now() WHERE id = $1::uuid"
    _settled(checkout)
    rows(checkout.data, "order", under_way, order_id)
    refused = checkout.run("customers", "erase", EMAIL, "--yes")
    assert (refused.returncode, order_id in refused.stderr) == (1, True), refused.stderr
    assert "cancel them, or wait" in refused.stderr
    rows(checkout.data, "order", ended, order_id)
    before = found(checkout, CANARY)
    assert before == {
        "accountsdb private.accounts",
        "inventorydb messaging.dead_letters",
        "inventorydb messaging.outbox_1",
        "notificationdb messaging.dead_letters",
        "notificationdb messaging.outbox_1",
        "notificationdb personal.contacts",
        "orderdb app.orders",
        "orderdb messaging.outbox_1",
    }, "what is personal, and the planted event with its dead letters; nothing else"

    erased = checkout.run("customers", "erase", EMAIL, "--yes")
    assert erased.returncode == 0, erased.stderr
    assert CANARY not in (erased.stdout + erased.stderr).lower()
    assert found(checkout, CANARY) == set()
    assert CANARY not in logs(checkout)
    shown = checkout.client.get(f"{checkout.url(1)}{ORDERS}/{order_id}", headers=token).json()
    assert (shown["totalAmount"], shown["customer"], shown["deliveryAddress"]) == (
        29.99,
        None,
        None,
    )
    repeated = checkout.run("customers", "erase", account, "--yes")
    assert (repeated.returncode, repeated.stdout) == (0, "there was nothing to erase\n")
    clean_audit(checkout)


def _settled(platform: PlatformProcess) -> None:
    """Wait until nothing of any order is under way."""
    open_ = "SELECT 1 FROM app.orders WHERE settled_at IS NULL"
    calls = "SELECT 1 FROM messaging.deliveries WHERE state = 'PENDING'"
    wait_for(
        lambda: (
            not (
                rows(platform.data, "order", open_)
                + [row for name in OFFERED for row in rows(platform.data, name, calls)]
            )
        ),
        30,
        "every order has ended",
    )


OFFERED = ("order", "payment", "notification")


def test_events_that_name_their_customer_are_erased_too(reservation: PlatformProcess) -> None:
    """C38: the one document that puts an address into its events: outboxes, dead letters, mails.

    A client may put one into its X-Correlation-Id as well, which the order keeps.
    """
    stocked = reservation.client.put(
        f"{reservation.url(3)}/api/inventory/SKU-1", json={"availableQty": 5}
    )
    assert stocked.status_code == 200
    for email in (EMAIL, "bob@example.org"):
        line = {"sku": "SKU-1", "quantity": 1, "unitPrice": 1299}
        body = {"customerEmail": email, "items": [line]}
        named = {"X-Correlation-Id": f"cart-of-{email}"}
        placed = reservation.client.post(
            f"{reservation.url(1)}/api/orders", json=body, headers=named
        )
        assert placed.status_code == 201
        order_id = placed.json()["orderId"]
        if email == EMAIL:
            theirs = order_id
        confirmed(reservation, order_id)
    plant(reservation, EMAIL, "inventory-service")
    wait_for(lambda: "orderdb app.orders" in found(reservation, CANARY), 10, "canaries")

    def erased() -> Any:  # noqa: ANN401 - a finished command
        done = reservation.run("customers", "erase", EMAIL, "--yes")
        assert done.returncode == 0 or "under way" in done.stderr, done.stderr
        return done if done.returncode == 0 else None

    _settled_reservation(reservation)
    events = "orderdb messaging.outbox_1"
    assert {events, "notificationdb messaging.deliveries"} <= found(reservation, CANARY)
    done = wait_for(erased, 30, "the erasure")
    assert "order messaging.outbox: " in done.stdout
    assert found(reservation, CANARY) == set()
    assert events in found(reservation, "bob@example.org"), "another customer's stay"
    mails = [line for line in logs(reservation).splitlines() if CANARY in line]
    assert len(mails) == 1, "seed 001 without a mail server: the mail is a line of the log"
    assert f"email to {EMAIL}" in mails[0]
    assert reservation.order(theirs)["customerEmail"] == "erased"
    clean_audit(reservation)


def confirmed(platform: PlatformProcess, order_id: str) -> None:
    """Wait until it is."""
    wait_for(lambda: platform.order(order_id)["status"] == "CONFIRMED", 30, "it is confirmed")


def _settled_reservation(platform: PlatformProcess) -> None:
    open_ = "SELECT 1 FROM app.orders WHERE settled_at IS NULL"
    calls = "SELECT 1 FROM messaging.deliveries WHERE state = 'PENDING'"
    mails = "SELECT 1 FROM messaging.deliveries WHERE kind = 'email'"
    wait_for(
        lambda: (
            not rows(platform.data, "order", open_)
            and len(rows(platform.data, "notification", mails)) == 2
            and not rows(platform.data, "notification", calls)
        ),
        30,
        "every order has ended and is told",
    )
