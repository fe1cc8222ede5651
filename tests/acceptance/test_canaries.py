"""No secret, token, address or card number gets out, whatever goes wrong: canaries under faults.

Each canary is put in where such a thing comes in; then everything that comes out is searched.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.collector import Collector
from tests.acceptance.database import rows
from tests.acceptance.processes import MOUSE, PlatformProcess, free_port_base, wait_for
from tests.acceptance.shop import Provider, Surroundings
from tests.acceptance.signing_in import GENEROUS
from tests.acceptance.stages import STAGES

from waybill.commerce.testing.http_server import Reply
from waybill.commerce.testing.provider_server import CHARGES
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waybill.commerce.testing.http_server import Asked

pytestmark = pytest.mark.acceptance
CARD = "4111111111111111"
EMAIL, OTHER_EMAIL = "canary.account@canary-mail.org", "canary.buyer@canary-mail.org"
CONTACT = "canary.contact@canary-mail.org"
PASSWORD, WRONG = "canary-password-Ruby7", "canary-wrong-Onyx8"
NAME, STREET = "Zebedee Canaryson", "Canarystreet-42"
BAGGAGE = "canary-baggage-9f3"
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname IS NOT NULL
"""
TABLES = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('app', 'messaging')"
KEPT_THERE = {("order", "app"), ("notification", "app")}
"""Where addresses and keys are meant to be: the orders' and the contacts' own rows."""
DATABASES = ("order", "inventory", "payment", "notification", "accounts")
TIMES_CUT = 2


class LeakyProvider(Provider):
    """Its errors tell what it should not."""

    leaks = 0

    def reply(self, asked: Asked) -> Reply:
        """See TryServer."""
        if asked.path == CHARGES and self.leaks > 0:
            self.leaks -= 1
            return Reply(500, f'{{"error": "card {CARD} of {OTHER_EMAIL}"}}'.encode())
        return super().reply(asked)


class World:
    """A platform of `checkout` with everything around it, all of whose secrets are known here."""

    def __init__(
        self, around: Surroundings, collector: Collector, directory: Path, token: str
    ) -> None:
        self.around, self.collector = around, collector
        self.provider_token = token
        self.webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.smtp_password = "canary-smtp-" + secrets.token_hex(8)
        self.redis_password = "canary-redis-" + secrets.token_hex(8)
        self.tokens: list[str] = []
        self.errors: list[str] = []
        self.platform = PlatformProcess(
            directory / "data", port_base=free_port_base(), environment={}
        )
        self.platform.has_edge = True
        dead = self.platform.port_base + 9  # nobody listens there
        self.platform.environment = {
            "WAYBILL_BLUEPRINT": "checkout",
            "WAYBILL_LOG_LEVEL": "debug",
            "WAYBILL_PAYMENT_WAIT_SECONDS": "0.5",
            "PAYMENT_PROVIDER_URL": around.provider.url,
            "PAYMENT_PROVIDER_TOKEN": self.provider_token,
            "PAYMENT_WEBHOOK_SECRETS": self.webhook_secret,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(dead),
            "SMTP_USER": "canary-smtp-user",
            "SMTP_PASSWORD": self.smtp_password,
            "FROM_EMAIL": "orders@shop.example",
            "REDIS_URL": f"redis://:{self.redis_password}@127.0.0.1:{dead}/0",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **GENEROUS,
        }

    def send(self, method: str, path: str, **given: Any) -> httpx2.Response | None:  # noqa: ANN401 - as httpx2 takes
        """Ask the gateway; what it refuses is kept. None: a fault took the connection."""
        url = self.platform.url(given.pop("offset", 0)) + path
        headers = {"baggage": f"who={BAGGAGE}", "Cookie": f"card={CARD}"}
        headers |= given.pop("headers", {})
        with suppress(httpx2.TransportError):
            answer = self.platform.client.request(method, url, headers=headers, **given)
            if answer.status_code >= 400:
                self.errors.append(f"{answer.headers} {answer.text}")
            return answer
        return None

    def sign_in(self) -> tuple[str, dict[str, str]]:
        """A customer's id, and headers with their token."""
        credentials = {"email": EMAIL, "password": PASSWORD}
        made = self.send("POST", "/api/v1/auth/register", json=credentials)
        assert made is not None
        assert made.status_code == 201, made.text
        granted = self.send("POST", "/api/v1/auth/login", json=credentials)
        assert granted is not None
        self.tokens += [granted.json()["accessToken"], granted.json()["refreshToken"]]
        return made.json()["id"], {"Authorization": f"Bearer {self.tokens[0]}"}

    def order(self, headers: dict[str, str], price: str = "29.99") -> httpx2.Response | None:
        """Place one, for a customer with a name and an address."""
        body = {
            "items": [{"productId": MOUSE, "quantity": 1, "unitPrice": price}],
            "currency": "EUR",
            "customer": {"name": NAME, "email": OTHER_EMAIL},
        }
        keyed = {**headers, "Idempotency-Key": f"card-{CARD}-{new_id()}"}
        return self.send("POST", "/api/v1/orders", json=body, headers=keyed)

    @property
    def canaries(self) -> dict[str, str]:
        """What must be nowhere, by what it is."""
        kept = json.loads((self.platform.data / "secrets.json").read_bytes())
        keys = rows(self.platform.data, "accounts", "SELECT private_key FROM private.signing_keys")
        found = {
            "card": CARD,
            "account": EMAIL,
            "buyer": OTHER_EMAIL,
            "contact": CONTACT,
            "password": PASSWORD,
            "wrong password": WRONG,
            "name": NAME,
            "street": STREET,
            "baggage": BAGGAGE,
            "provider token": self.provider_token,
            "webhook secret": self.webhook_secret,
            "SMTP password": self.smtp_password,
            "Redis password": self.redis_password,
        }
        found |= {f"token {number}": token for number, token in enumerate(self.tokens)}
        found |= {f"its signature {n}": t.rpartition(".")[2] for n, t in enumerate(self.tokens)}
        found |= {f"secret {name}": secret for name, secret in kept.items()}
        found |= {
            f"signing key {n}": row["private_key"].splitlines()[2] for n, row in enumerate(keys)
        }
        return found

    def outputs(self) -> dict[str, str]:
        """Everything that comes out, by where it does."""
        platform = self.platform
        found = {"log": platform.log.read_text(errors="replace"), "errors": "\n".join(self.errors)}
        for offset in (1, 2, 3, 4, 6, 7):
            answer = platform.client.get(f"{platform.url(offset)}/metrics")
            assert answer.status_code == 200
            found[f"metrics at +{offset}"] = answer.text
        for database in DATABASES:
            for table in rows(platform.data, database, TABLES):
                place = (database, table["schemaname"])
                if place in KEPT_THERE:
                    continue
                name = f"{table['schemaname']}.{table['tablename']}"
                texts = rows(platform.data, database, f"SELECT t::text AS row FROM {name} AS t")  # noqa: S608 - of the catalogue
                found[f"{database} {name}"] = "\n".join(row["row"] for row in texts)
        found["traces"] = b"\n".join(self.collector.raw).decode("latin-1")
        return found


def leaks(canaries: dict[str, str], outputs: dict[str, str]) -> list[str]:
    """Which canary is where, as it is or in the hexadecimal of PostgreSQL's bytes."""
    return [
        f"{what} in {where}: …{text[max(0, place - 200) : place + 60]}…"
        for what, canary in canaries.items()
        for where, text in outputs.items()
        for spelt in (canary, canary.encode().hex())
        if (place := text.find(spelt)) >= 0
    ]


@pytest.fixture(scope="module")
def world(session_directory: Path, provisioned_data: Path) -> Iterator[World]:
    """Running."""
    directory = Path(tempfile.mkdtemp(prefix="canaries-", dir=session_directory))
    directory.chmod(0o711)
    STAGES["checkout"].copy(provisioned_data, directory / "data")
    token = "canary-provider-" + secrets.token_hex(8)
    around = Surroundings(token=token)
    around.provider = LeakyProvider(new_id=new_id, token=token)
    with around, Collector() as collector:
        world = World(around, collector, directory, token)
        try:
            world.platform.start()
            yield world
        finally:
            world.platform.close()
    shutil.rmtree(directory, ignore_errors=True)


def _malformed(world: World, headers: dict[str, str]) -> None:
    """Input that is refused, with a canary where each error could quote it."""
    person = {"name": NAME, "email": OTHER_EMAIL, "street": STREET}
    item = {"productId": CARD, "quantity": CARD, "unitPrice": CARD}
    bodies = [
        b'{"items": [{"productId": "' + CARD.encode(),
        b'{"customer": "' + OTHER_EMAIL.encode() + b'\xff"}',
        json.dumps({"items": [item], "currency": CARD, "customer": person}).encode(),
        json.dumps({"items": CARD, "cardNumber": CARD, "customer": [EMAIL]}).encode(),
        json.dumps({CARD: CARD, EMAIL: PASSWORD}).encode(),
    ]
    typed = {**headers, "Content-Type": "application/json"}
    for body in bodies:
        keyed = {**typed, "Idempotency-Key": CARD}
        world.send("POST", "/api/v1/orders", content=body, headers=keyed)
        world.send("POST", "/api/v1/auth/register", content=body, headers=typed)
        world.send("PUT", "/api/v1/contacts/me", content=body, headers=typed)
        world.send("POST", "/api/payments/webhook", content=body, headers=typed, offset=2)
    for given in ({"email": EMAIL, "password": WRONG}, {"email": CARD, "password": WRONG}):
        world.send("POST", "/api/v1/auth/login", json=given)
    world.send("POST", "/api/v1/auth/register", json={"email": EMAIL, "password": PASSWORD})
    world.send("POST", "/api/v1/auth/refresh", json={"refreshToken": WRONG})
    for query in (f"status={CARD}", f"cursor={EMAIL}", f"{CARD}=1", f"limit={WRONG}"):
        world.send("GET", f"/api/v1/orders?{query}", headers=headers)
    for credentials in (f"Bearer {WRONG}", f"Basic {PASSWORD}", f"Bearer {world.tokens[0]}x"):
        for offset in (0, 1, 2):
            refused = {"Authorization": credentials}
            world.send("GET", "/api/v1/orders", headers=refused, offset=offset)
    world.send("POST", "/api/v1/orders", content=b"{}", headers={**headers, "Content-Type": CARD})


def test_no_canary_gets_out(world: World) -> None:
    """I48, I45: logs, topics, outboxes, dead letters, metrics, traces, errors; whatever failed."""
    customer, headers = world.sign_in()
    put = world.send(
        "PUT", f"/api/v1/contacts/{customer}", json={"email": CONTACT}, headers=headers
    )
    assert put is not None
    assert put.status_code == 200, put.text
    _malformed(world, headers)
    provider = world.around.provider
    assert isinstance(provider, LeakyProvider)
    provider.leaks = 3
    world.order(headers)
    world.around.do(provider.stop())
    world.order(headers)
    world.around.do(provider.start())
    for _ in range(TIMES_CUT):
        rows(world.platform.data, "order", CUT)
        for _ in range(3):
            world.order(headers)
            world.send("POST", "/api/v1/auth/login", json={"email": EMAIL, "password": PASSWORD})
            world.send("GET", "/api/v1/auth/me", headers=headers)

    def paid() -> str | None:
        placed = world.order(headers)
        at_once = placed is not None and placed.status_code == 201
        return placed.json()["orderId"] if placed is not None and at_once else None

    order_id = wait_for(paid, 60, "an order after the faults")
    mailed = "SELECT attempts FROM messaging.deliveries WHERE attempts > 0"
    wait_for(lambda: rows(world.platform.data, "notification", mailed), 60, "a mail that fails")
    wait_for(lambda: len(world.collector.raw) or None, 30, "traces")
    outputs, canaries = world.outputs(), world.canaries
    found = leaks(canaries, outputs)
    assert not found, "\n".join(found)
    # The search finds what is there, and the canaries are where they belong.
    assert order_id in outputs["order messaging.outbox"]
    assert len(outputs["log"]) > 10_000
    assert len(world.errors) > 30
    assert leaks({"order": order_id}, {"outbox": outputs["order messaging.outbox"]})
    kept = rows(world.platform.data, "accounts", "SELECT email FROM private.accounts")
    assert [row["email"] for row in kept] == [EMAIL]
