"""A client of a platform of any blueprint, by HTTP only, and the orders that it follows.

What it sends and reads, and when an order has ended, are the blueprint's data.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import httpx2

from waybill.blueprints.workload import ORDER_SERVICE
from waybill.messaging.core.errors import MessagingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.blueprints.definition import Blueprint

POLL_SECONDS: Final = 0.01
OUTCOME_SECONDS_MAX: Final = 60.0
CUSTOMER: Final = 1
STOCK: Final = {1: 100, 2: 50, 3: 75, 4: 30, 5: 200}
"""Pieces of each product when the demo begins: those that seed 003 brings."""
PRICES: Final = {1: "29.99", 2: "89.00", 3: "19.50", 4: "249.95", 5: "34.90"}
"""Unit prices in EUR, where a document has prices."""
ANSWERED_LATER: Final = (httpx2.codes.ACCEPTED, httpx2.codes.PAYMENT_REQUIRED)
"""Where an order is paid inside the request, these are orders too."""


class DemoFailedError(MessagingError):
    """A check of the demo does not hold."""


@dataclass(frozen=True)
class Product:
    """A product as the platform shows it: pieces that can be ordered, and pieces that are held."""

    name: str
    stock: int
    reserved: int


@dataclass
class Journey:
    """One order on its way, as its client sees it; without an id there is no order."""

    what: str
    product: int
    quantity: int
    answer: int
    id: str = ""
    started: float = 0.0
    path: list[str] = field(default_factory=list)
    reason: str = ""
    milliseconds: float = 0.0

    @property
    def status(self) -> str:
        """The last status seen."""
        return self.path[-1] if self.path else ""

    @property
    def total(self) -> Decimal:
        """What it costs."""
        return self.quantity * Decimal(PRICES[self.product])


class Shop:
    """Places orders and follows them. `headers` go with every request; `close` it at the end."""

    def __init__(
        self,
        blueprint: Blueprint,
        port_base: int,
        *,
        host: str = "127.0.0.1",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = httpx2.AsyncClient(timeout=30, trust_env=False, headers=headers)
        self._host = host
        self._port_base = port_base
        self._blueprint = blueprint
        self._contract = blueprint.orders.contract
        self._process = blueprint.order_process
        self._keys = 0
        self._names: dict[int, str] = {}
        self.journeys: list[Journey] = []

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def next_key(self) -> str:
        """A new idempotency key."""
        self._keys += 1
        return f"demo-{time.time_ns()}-{self._keys:04d}"

    async def get(self, port: int, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """GET from the service at this offset of the port base."""
        answer = await self._client.get(self._url(port, path), params=query)
        if not answer.is_success:
            raise DemoFailedError(f"GET {answer.url} answered {answer.status_code}: {answer.text}")
        return answer.json()

    async def fill(self, stock: Mapping[int, int]) -> None:
        """Bring every product to so many pieces, by PUT."""
        level = self._blueprint.workload.stock
        for number, count in stock.items():
            url = self._url(level.port, level.path(number))
            known = await self._client.get(url)
            name = f"Product {number}"
            if known.is_success:
                name = known.json().get("name", name)
            answer = await self._client.put(url, json=level.holding(count, name))
            if not answer.is_success:
                raise DemoFailedError(f"PUT {url} answered {answer.status_code}: {answer.text}")
            self._names[number] = name if level.is_named else level.path(number).rpartition("/")[2]

    async def products(self) -> dict[int, Product]:
        """Every product as it stands, by its number."""
        level, found = self._blueprint.workload.stock, {}
        for number, name in self._names.items():
            shown = await self.get(level.port, level.path(number))
            found[number] = Product(name, shown[level.member], shown[level.reserved_member])
        return found

    async def post(self, key: str, *lines: tuple[int, int]) -> httpx2.Response:
        """POST an order of these lines: product and quantity."""
        priced = [(product, quantity, float(PRICES[product])) for product, quantity in lines]
        return await self._client.post(
            self._url(ORDER_SERVICE, self._contract.path),
            json=self._blueprint.workload.body(CUSTOMER, priced),
            headers={"Idempotency-Key": key},
        )

    async def cancel(self, journey: Journey) -> int:
        """POST the customer's cancel; the status of the answer."""
        url = self._url(ORDER_SERVICE, f"{self._contract.path}/{journey.id}/cancel")
        return (await self._client.post(url)).status_code

    async def place(self, product: int, quantity: int, what: str = "") -> Journey:
        """Place one order that must be taken. Raises DemoFailedError with the answer if it is not.

        What stands in brackets behind the order's lines is `what`.
        """
        started = time.monotonic()
        answer = await self.post(self.next_key(), (product, quantity))
        return self.taken(answer, product, quantity, started=started, what=what)

    def taken(
        self, answer: httpx2.Response, product: int, quantity: int, *, started: float, what: str
    ) -> Journey:
        """The journey of the order that this answer tells of."""
        order_id = self.order_of(answer)
        journey = self._journey(answer, product, quantity, what)
        journey.id, journey.started = order_id, started
        return journey

    def order_of(self, answer: httpx2.Response) -> str:
        """The id of the order that this answer to POST tells of. Raises DemoFailedError if none."""
        called = self._blueprint.process.steps[0].called
        statuses = {self._contract.placed_status, *(ANSWERED_LATER if called else ())}
        if answer.status_code not in statuses:
            url, status = answer.url, answer.status_code
            raise DemoFailedError(f"POST {url} answered {status}: {answer.text}")
        return str(answer.json()[self._blueprint.workload.id_member])

    def turned_away(
        self, answer: httpx2.Response, product: int, quantity: int, what: str
    ) -> Journey:
        """The request that was answered without an order."""
        journey = self._journey(answer, product, quantity, what)
        journey.reason = str(answer.json().get("detail", ""))
        return journey

    def _journey(self, answer: httpx2.Response, product: int, quantity: int, what: str) -> Journey:
        said = f"{quantity} x {self._names[product]}{f' ({what})' if what else ''}"
        journey = Journey(said, product, quantity, answer.status_code)
        self.journeys.append(journey)
        return journey

    async def look(self, journey: Journey) -> Sequence[str]:
        """Read its timeline; the names of all that happened to it."""
        path = f"{self._contract.path}/{journey.id}/timeline"
        entries = (await self.get(ORDER_SERVICE, path))["entries"]
        journey.path = [entry["toStatus"] for entry in entries if entry["toStatus"]]
        journey.milliseconds = (time.monotonic() - journey.started) * 1000
        reasons = [entry["detail"] for entry in entries if entry["detail"]]
        journey.reason = reasons[-1] if reasons else ""
        return [entry["event"] for entry in entries]

    async def follow(self, journey: Journey, *, is_cancelled: bool = False) -> Journey:
        """Poll its timeline until it has ended; one that is cancelled: until it has failed."""
        deadline = time.monotonic() + OUTCOME_SECONDS_MAX
        while True:
            events = await self.look(journey)
            done = all(step.done in events for step in self._process.afterwards)
            confirmed = journey.status == self._process.confirmed.status and done
            if self.has_failed(journey) or (confirmed and not is_cancelled):
                return journey
            if time.monotonic() > deadline:
                raise DemoFailedError(f"order {journey.id} stands at {journey.status}")
            await asyncio.sleep(POLL_SECONDS)

    def is_confirmed(self, journey: Journey) -> bool:
        """Whether it came to the good end."""
        return journey.status == self._process.confirmed.status

    def has_failed(self, journey: Journey) -> bool:
        """Whether it came to another one."""
        return journey.status in self._process.failures

    @property
    def first_confirmed(self) -> float:
        """When its client saw the first order confirmed, on the monotonic clock."""
        confirmed = [each for each in self.journeys if self.is_confirmed(each)]
        return min(each.started + each.milliseconds / 1000 for each in confirmed)

    async def payments(self, journey: Journey) -> list[dict[str, Any]]:
        """The payments of an order, by the payment service."""
        order_id = journey.id.removeprefix(self._contract.id_prefix)
        found: list[dict[str, Any]] = (await self.get(2, "/api/payments", orderId=order_id))[
            "items"
        ]
        return found

    def _url(self, port: int, path: str) -> str:
        return f"http://{self._host}:{self._port_base + port}{path}"
