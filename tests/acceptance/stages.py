"""Every blueprint as tests run it: how orders are placed, and which crash points it comes to.

What differs is data here: a test that takes a stage knows no blueprint.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from waybill.blueprints.catalogue import BLUEPRINTS, WITH_PAYMENT
from waybill.blueprints.checkout import CHECKOUT
from waybill.blueprints.choreography import CHOREOGRAPHY as OF_SEED_003
from waybill.blueprints.notify import NOTIFY as OF_SEED_000
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.blueprints.reservation import RESERVATION
from waybill.blueprints.reservation_payment import RESERVATION_PAID
from waybill.commerce import crash_points as of_commerce
from waybill.commerce.notifications.handlers import EMAIL
from waybill.commerce.notifications.http_notify import NOTIFY
from waybill.commerce.payments.domain import CHARGE
from waybill.messaging.core.crash_points import registered
from waybill.operations.load import raise_stock
from waybill.operations.plan import Plan
from waybill.platform.chosen import FILE
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx2

    from waybill.blueprints.definition import Blueprint, Service
    from waybill.commerce.contracts import Event

assert set(of_commerce.POINTS) <= set(registered())
ORDER = 1
SERVER_ERRORS = 500
LINES = [(1, 1, 29.99)]
"""Of every order: all of them want the same product."""
QUERIES = ("delivery.before_query", "delivery.after_query")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A blueprint, and what a test has to know to bring it into trouble. There is one of each."""

    blueprint: Blueprint
    environment: Mapping[str, str] = field(default_factory=dict)
    called: str = CHARGE
    """The kind of outside call that is made for every order."""
    slow: str = "inventory-service"
    """While this one stands still, orders become overdue."""
    out_of_reach: tuple[str, ...] = ()
    """How the names of points begin that it never comes to, for it has nothing like that."""

    @property
    def name(self) -> str:
        """The blueprint's."""
        return self.blueprint.name

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Its services' ports above the base, by their databases."""
        return {name: plan.port_offset for name, plan in plans_of(self.blueprint).items()}

    @cached_property
    def points(self) -> list[str]:
        """The crash points that it comes to, in one process and without Kafka.

        A relay has points of its own: tests/messaging/postgres/test_relay_crashes.py.
        """
        return [each for each in self._all if not each.startswith(self.out_of_reach)]

    @cached_property
    def unreached(self) -> list[str]:
        """The others."""
        return [each for each in self._all if each not in self.points]

    @property
    def _all(self) -> list[str]:
        return [point for point in registered() if not point.startswith("relay.")]

    @cached_property
    def told(self) -> type[Event]:
        """An event of every order that changes nothing when it is told once more."""
        process = self.blueprint.process
        name = process.confirmed.event or process.steps[0].ask
        return next(event for event in self.blueprint.events if event.__name__ == name)

    @property
    def teller(self) -> Service:
        """Who writes `told`."""
        return self.blueprint.teller(self.told)

    @property
    def listeners(self) -> list[str]:
        """The databases of those who act on `told`."""
        teller = self.teller
        return [
            service.database
            for service in self.blueprint.services.values()
            if any(self.told in service.hears(teller, topic) for topic in teller.publishes)
        ]

    def copy(self, provisioned: Path, data: Path) -> None:
        """Data of this blueprint, out of those of a platform on which nothing was ever ordered."""
        subprocess.run(["cp", "-a", provisioned, data], check=True)
        (data / FILE).write_text(self.name + "\n")

    def place(self, url: str, key: str, client: httpx2.Client) -> httpx2.Response:
        """POST the usual order to the order service at this URL."""
        return client.post(
            f"{url}{self.blueprint.orders.contract.path}",
            json=self.blueprint.workload.body(0, LINES),
            headers={"Idempotency-Key": key},
        )

    def cancel(self, url: str, order_id: str, client: httpx2.Client) -> None:
        """POST the customer's cancel, where there is one."""
        contract = self.blueprint.orders.contract
        if contract.cancellable:
            client.post(f"{url}{contract.path}/{self.blueprint.order_prefix}{order_id}/cancel")

    def order_of(self, answer: httpx2.Response) -> str | None:
        """The id of the order that an answer tells of, though it may refuse something about it."""
        if answer.status_code >= SERVER_ERRORS:
            return None
        body: dict[str, Any] = answer.json()
        told: str | None = body.get(self.blueprint.workload.id_member)
        return told and told.removeprefix(self.blueprint.order_prefix)

    def customer_of(self, request: httpx2.Request) -> str:
        """Whose order was asked for."""
        return str(self.blueprint.orders.contract.parse(request.content).customer_id)

    def raise_stock(self, port_base: int) -> None:
        """Plenty of everything that is ordered."""
        plan = Plan(rate=0, seconds=0, connections=1, port_base=port_base, blueprint=self.blueprint)
        asyncio.run(raise_stock(plan))


def _chosen(blueprint: Blueprint, **more: str) -> dict[str, str]:
    # Tokens and the gateway have tests of their own.
    return {"WAYBILL_BLUEPRINT": blueprint.name, "WAYBILL_EDGE": "false", **more}


CHOREOGRAPHY = Stage(blueprint=OF_SEED_003)
STAGES = {
    stage.name: stage
    for stage in (
        CHOREOGRAPHY,
        Stage(blueprint=ORCHESTRATION, environment=_chosen(ORCHESTRATION)),
        Stage(
            blueprint=RESERVATION,
            environment=_chosen(RESERVATION),
            called=EMAIL,
            out_of_reach=("provider.", *QUERIES),
        ),
        Stage(
            blueprint=RESERVATION_PAID,
            environment=_chosen(RESERVATION, WAYBILL_PAYMENT_STEP="true"),
        ),
        Stage(
            blueprint=OF_SEED_000,
            environment=_chosen(OF_SEED_000),
            called=NOTIFY,
            slow="order-service",
            out_of_reach=("cancel.", "provider.", "mail.", *QUERIES),
        ),
        Stage(blueprint=CHECKOUT, environment=_chosen(CHECKOUT)),
    )
}
assert set(STAGES) == {*BLUEPRINTS, *(each.name for each in WITH_PAYMENT.values())}
OTHERS = [stage for stage in STAGES.values() if stage is not CHOREOGRAPHY]
