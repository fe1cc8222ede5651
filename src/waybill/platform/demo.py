"""The acts of `waybill demo`: every outcome of an order, seen live, and books that must balance.

Talks to the platform by HTTP only, as any client would. The money is the simulator's own word,
not the payment service's.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
from rich.live import Live
from rich.table import Table

from waybill.messaging.core.errors import MessagingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rich.console import Console

CUSTOMER = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
TERMINAL = frozenset({"CONFIRMED", "CANCELLED"})
PRICES = ("29.99", "89.00", "19.50", "249.95", "34.90")
"""Unit prices in EUR of the five seeded products, in the order of their ids."""

POLL_SECONDS = 0.01
CHEAP = (0, 1, 2, 4)
"""Products with stock for all acts; the monitor (3) is the one that is sold out."""

HELD_SECONDS = 3.0
"""How long the simulator holds the payment of the order that its customer cancels."""

CALL_SECONDS = 0.5
"""Long enough for a charge that is owed to be on its way."""

OUTCOME_SECONDS_MAX = 60.0
ORDERS_MAX = 40


@dataclass
class Journey:
    """One order on its way, as its client sees it."""

    what: str
    id: str
    total: Decimal
    started: float
    path: list[str] = field(default_factory=list)
    reason: str = ""
    milliseconds: float = 0.0

    @property
    def status(self) -> str:
        """The last status seen."""
        return self.path[-1] if self.path else ""


class DemoFailedError(MessagingError):
    """A check of the demo does not hold."""


class Shop:
    """A client of the four services on this machine."""

    def __init__(self, port_base: int) -> None:
        self._client = httpx2.AsyncClient(timeout=30, trust_env=False)
        self._port_base = port_base
        self._keys = 0
        self.products: list[dict[str, Any]] = []
        self.journeys: list[Journey] = []

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def next_key(self) -> str:
        """A new idempotency key."""
        self._keys += 1
        return f"demo-{self._keys:04d}"

    def line(self, product: int, quantity: int) -> dict[str, Any]:
        """A line over one of the seeded products."""
        return {
            "productId": self.products[product]["id"],
            "quantity": quantity,
            "unitPrice": float(PRICES[product]),
        }

    async def get(self, service: int, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """GET from the service at this offset of the port base."""
        url = f"http://127.0.0.1:{self._port_base + service}{path}"
        answer = await self._client.get(url, params=query)
        answer.raise_for_status()
        return answer.json()

    async def post(self, key: str, lines: Sequence[dict[str, Any]]) -> httpx2.Response:
        """POST an order."""
        return await self._client.post(
            f"http://127.0.0.1:{self._port_base + 1}/api/orders",
            json={"customerId": CUSTOMER, "items": list(lines), "currency": "EUR"},
            headers={"Idempotency-Key": key},
        )

    async def cancel(self, order_id: str) -> httpx2.Response:
        """POST the customer's cancel."""
        return await self._client.post(
            f"http://127.0.0.1:{self._port_base + 1}/api/orders/{order_id}/cancel"
        )

    async def place(self, product: int, quantity: int) -> Journey:
        """Place one order that must be accepted, and start to follow it."""
        started = time.monotonic()
        answer = await self.post(self.next_key(), [self.line(product, quantity)])
        if answer.status_code != httpx2.codes.CREATED:
            raise DemoFailedError(f"POST answered {answer.status_code}: {answer.text}")
        body = answer.json()
        journey = Journey(
            what=f"{quantity} x {self.products[product]['name']}",
            id=body["id"],
            total=Decimal(str(body["totalAmount"])),
            started=started,
        )
        self.journeys.append(journey)
        return journey

    async def follow(self, journey: Journey) -> Journey:
        """Poll its timeline until it is terminal."""
        deadline = journey.started + OUTCOME_SECONDS_MAX
        while journey.status not in TERMINAL:
            timeline = await self.get(1, f"/api/orders/{journey.id}/timeline")
            journey.path = [e["toStatus"] for e in timeline["entries"] if e["toStatus"]]
            journey.milliseconds = (time.monotonic() - journey.started) * 1000
            reasons = [e["detail"] for e in timeline["entries"] if e["detail"]]
            journey.reason = reasons[-1] if reasons else ""
            if time.monotonic() > deadline:
                raise DemoFailedError(f"order {journey.id} stands at {journey.status}")
            await asyncio.sleep(POLL_SECONDS)
        return journey


class Demo:
    """The acts of the demo, on a running platform."""

    def __init__(
        self,
        shop: Shop,
        console: Console,
        *,
        hold_payments: Callable[[float], None],
        ledger: Callable[[], Awaitable[tuple[Decimal, Decimal]]],
    ) -> None:
        self._shop = shop
        self._console = console
        self._hold_payments = hold_payments
        self._ledger = ledger

    @property
    def first_confirmed(self) -> float:
        """When its client saw the first order confirmed, on the monotonic clock."""
        confirmed = [j for j in self._shop.journeys if j.status == "CONFIRMED"]
        return min(journey.started + journey.milliseconds / 1000 for journey in confirmed)

    async def run(self) -> None:
        """All acts, then the checks. Raises DemoFailedError with what does not hold."""
        self._shop.products = (await self._shop.get(3, "/api/products"))["items"]
        before = {product["id"]: product["stock"] for product in self._shop.products}
        with self._display():
            await self._orders_until_both_outcomes()
            await self._out_of_stock()
            await self._cancelled_while_paying()
        await self._same_key()
        await self._check(before)

    def _display(self) -> Live:
        return Live(
            get_renderable=self._table,
            console=self._console,
            refresh_per_second=12,
            auto_refresh=self._console.is_terminal,
        )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("order", "lines", "EUR", "its way", "ms", "why"):
            right = title in {"EUR", "ms"}
            table.add_column(title, justify="right" if right else "left", no_wrap=title != "why")
        for journey in self._shop.journeys:
            path = " > ".join(journey.path)
            table.add_row(
                journey.id[-8:],
                journey.what,
                f"{journey.total:.2f}",
                path,
                f"{journey.milliseconds:.0f}",
                journey.reason,
            )
        return table

    async def _orders_until_both_outcomes(self) -> None:
        """The simulator refuses one order in five, by its id."""
        wanted = {"CONFIRMED", "CANCELLED"}
        for number in range(ORDERS_MAX):
            journey = await self._shop.follow(
                await self._shop.place(CHEAP[number % len(CHEAP)], 1 + number % 2)
            )
            wanted.discard(journey.status)
            if not wanted and number >= 5:  # noqa: PLR2004 - enough to look at
                break
        if wanted:
            raise DemoFailedError(f"{ORDERS_MAX} orders, and none became {wanted}")

    async def _out_of_stock(self) -> None:
        journey = await self._shop.follow(await self._shop.place(3, 9999))
        if journey.status != "CANCELLED":
            raise DemoFailedError("9999 monitors were sold, of 30")

    async def _cancelled_while_paying(self) -> None:
        """The simulator's delay holds the charge; meanwhile the customer changes their mind."""
        self._hold_payments(HELD_SECONDS)
        try:
            journey = await self._shop.place(4, 3)
            await self._owed(journey)
            # The charge is owed; now it goes out, and the simulator holds it. A cancel before
            # that would be right too, but nothing would have to be given back.
            await asyncio.sleep(CALL_SECONDS)
            answer = await self._shop.cancel(journey.id)
            if answer.status_code != httpx2.codes.OK:
                raise DemoFailedError(f"cancel answered {answer.status_code}: {answer.text}")
            await self._shop.follow(journey)
        finally:
            self._hold_payments(0.0)
        journey.what += " (cancelled by its customer)"

    async def _owed(self, journey: Journey) -> None:
        """Wait until the payment service owes the charge."""
        items: list[object] = []
        while not items:
            items = (await self._shop.get(2, "/api/payments", orderId=journey.id))["items"]
            await asyncio.sleep(POLL_SECONDS)

    async def _same_key(self) -> None:
        key, line = self._shop.next_key(), self._shop.line(0, 1)
        first = await self._shop.post(key, [line])
        second = await self._shop.post(key, [line])
        other = await self._shop.post(key, [self._shop.line(0, 2)])
        codes = (first.status_code, second.status_code, other.status_code)
        if codes != (201, 200, 409) or first.content != second.content:
            raise DemoFailedError(f"one key three times answered {codes}")
        self._console.print(
            f"\nsame key twice: {codes[0]}, then {codes[1]} with the identical body; "
            f"with another body: {codes[2]}"
        )
        body = first.json()
        total = Decimal(str(body["totalAmount"]))
        journey = Journey("same key", body["id"], total, time.monotonic())
        self._shop.journeys.append(journey)
        await self._shop.follow(journey)

    async def _check(self, before: dict[str, int]) -> None:
        confirmed = [j for j in self._shop.journeys if j.status == "CONFIRMED"]
        sold, after = await self._at_rest()
        self._console.print("\nstock, to the unit")
        for product in after:
            name, first = product["name"], before[product["id"]]
            here, gone = product["stock"], sold.get(product["id"], 0)
            self._console.print(f"  {name:<20} {first:>4} = {here:>4} left + {gone:>3} sold")
            if first != here + gone or product["reserved"]:
                raise DemoFailedError(f"stock of {name} does not add up")
        captured, refunded = await self._ledger()
        value = sum((journey.total for journey in confirmed), Decimal(0))
        self._console.print(
            f"\nmoney, by the payment provider's own ledger\n"
            f"  {captured:.2f} EUR captured - {refunded:.2f} refunded = {captured - refunded:.2f}\n"
            f"  value of {len(confirmed)} confirmed orders: {value:.2f} EUR"
        )
        if captured - refunded != value:
            raise DemoFailedError("the money taken is not the value of the confirmed orders")
        self._console.print("\nwhat was refused, and why")
        for journey in self._shop.journeys:
            if journey.status == "CANCELLED":
                self._console.print(f"  {journey.id[-8:]}  {journey.what}: {journey.reason}")

    async def _at_rest(self) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Units sold by product, and the products, once no order holds stock or money."""
        deadline = time.monotonic() + OUTCOME_SECONDS_MAX
        while True:
            products = (await self._shop.get(3, "/api/products"))["items"]
            payments = [payment async for payment in self._payments()]
            cancelled = {j.id for j in self._shop.journeys if j.status == "CANCELLED"}
            pending = [
                payment
                for payment in payments
                if payment["status"] == "PENDING"
                or (payment["status"] == "SUCCEEDED" and payment["orderId"] in cancelled)
            ]
            if not pending and not any(product["reserved"] for product in products):
                break
            if time.monotonic() > deadline:
                raise DemoFailedError(f"not at rest: {pending}, {products}")
            await asyncio.sleep(POLL_SECONDS)
        sold: dict[str, int] = {}
        for journey in self._shop.journeys:
            if journey.status == "CONFIRMED":
                order = await self._shop.get(1, f"/api/orders/{journey.id}")
                for line in order["items"]:
                    sold[line["productId"]] = sold.get(line["productId"], 0) + line["quantity"]
        return sold, products

    async def _payments(self) -> Any:  # noqa: ANN401 - an async generator of JSON objects
        for journey in self._shop.journeys:
            answer = await self._shop.get(2, "/api/payments", orderId=journey.id)
            for payment in answer["items"]:
                yield payment
