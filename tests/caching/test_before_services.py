"""The cache before the services: whatever it says or loses, the database decides."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from waybill.commerce.caching.cache import WriteBehind
from waybill.commerce.caching.idempotency import IdempotencyCache
from waybill.commerce.caching.own import OwnCache
from waybill.commerce.caching.settings import RedisSettings
from waybill.commerce.contracts import Line
from waybill.commerce.inventory.remembered import RememberedProducts
from waybill.commerce.inventory.views import ProductView
from waybill.commerce.orders.remembered import RememberedIntake
from waybill.commerce.orders.request import KEYLESS, KeyReused, Placed, PlaceOrder
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.identity import new_id
from waybill.messaging.runtime.clock import SystemClock
from waybill.messaging.runtime.ports import SilentObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

MOUSE = new_id()


class MemoryCache:
    """A `Cache` in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    async def get(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """See Cache."""
        return {key: self.entries[key] for key in keys if key in self.entries}

    async def put(self, entries: Mapping[str, bytes], *, seconds: float) -> None:
        """See Cache."""
        assert seconds > 0
        self.entries |= entries

    async def drop(self, keys: Sequence[str]) -> None:
        """See Cache."""
        for key in keys:
            self.entries.pop(key, None)


class AtOnce(WriteBehind):
    """Writes without a loop."""

    def __init__(self, cache: MemoryCache) -> None:
        super().__init__(cache, clock=SystemClock(), observer=SilentObserver())
        self._entries = cache.entries

    def later(self, key: str, value: bytes, *, seconds: float) -> None:
        """See WriteBehind."""
        assert seconds > 0
        self._entries[key] = value


class Books:
    """The intake that decides, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self._placed: dict[str, str] = {}

    def admit(self) -> None:
        """See Intake."""
        if self.failure is not None:
            raise self.failure

    async def place(self, request: PlaceOrder) -> Placed | KeyReused:
        """See Intake."""
        self.asked += 1
        self.admit()
        first = self._placed.setdefault(request.key, request.fingerprint)
        if first != request.fingerprint:
            return KeyReused(new_id())
        return Placed(b"the order", replayed=self.asked > 1)

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        """See Intake."""
        assert route
        return Placed(b"before", replayed=True) if self._placed.get(key) == request_hash else None


def request(key: str = "k-1", fingerprint: str = "f-1", scope: str = "") -> PlaceOrder:
    """One order of a mouse."""
    price = Decimal("29.99")
    return PlaceOrder(
        scope=scope,
        route="POST /api/orders",
        key=key,
        fingerprint=fingerprint,
        customer_id=new_id(),
        currency="EUR",
        items=(Line(MOUSE, 1, price),),
        total_amount=price,
        traceparent="",
    )


def remembered(books: Books, cache: MemoryCache) -> RememberedIntake:
    """The intake behind that cache."""
    return RememberedIntake(books, IdempotencyCache(cache, AtOnce(cache)))


async def test_a_repeated_request_is_answered_without_the_database() -> None:
    """The first answer again, as a replay; what the cache lost, the database still knows."""
    books, cache = Books(), MemoryCache()
    intake = remembered(books, cache)
    assert await intake.place(request()) == Placed(b"the order", replayed=False)
    assert await intake.place(request()) == Placed(b"the order", replayed=True)
    assert books.asked == 1
    cache.entries.clear()
    assert await intake.place(request()) == Placed(b"the order", replayed=True)
    assert books.asked == 2


async def test_what_is_another_request_goes_to_the_database() -> None:
    """P5: another payload or caller under that key; another release's entry; no key at all."""
    books, cache = Books(), MemoryCache()
    intake = remembered(books, cache)
    await intake.place(request())
    assert isinstance(await intake.place(request(fingerprint="f-2")), KeyReused)
    assert await intake.place(request()) == Placed(b"the order", replayed=True)
    assert books.asked == 2, "the first answer is still there"
    await intake.place(request(scope="anna"))
    assert books.asked == 3
    for _ in range(2):
        await intake.place(request(key=f"{KEYLESS}1"))
    assert books.asked == 5
    assert not [name for name in cache.entries if KEYLESS in name]
    cache.entries["idem:k-1"] = b"\x93\x01"
    assert await intake.place(request()) == Placed(b"the order", replayed=True)
    assert books.asked == 6


async def test_what_was_refused_or_failed_is_not_remembered() -> None:
    """Only an order that is durable is answered again; a full house refuses as before."""
    books, cache = Books(), MemoryCache()
    intake = remembered(books, cache)
    books.failure = TransientError("down")
    with pytest.raises(TransientError):
        intake.admit()
    with pytest.raises(TransientError):
        await intake.place(request())
    assert cache.entries == {}


class Shelf:
    """Products as the database has them, and how often each was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.known = {MOUSE: ProductView(MOUSE, "Mouse", 5, 1)}

    async def product(self, product_id: UUID) -> ProductView | None:
        """See Products."""
        self.reads += 1
        return self.known.get(product_id)

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """See Products."""
        assert after is None
        return list(self.known.values())[:limit]

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """See Products."""
        if product_id in self.known:
            return None
        self.known[product_id] = ProductView(product_id, name, stock, 0)
        return self.known[product_id]

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """See Products."""
        self.known[product_id] = ProductView(product_id, name, stock, 0)
        return self.known[product_id]


async def test_a_product_is_read_once_until_somebody_changes_it() -> None:
    """R117: the second look is the cache's; a change through us is seen at once."""
    shelf, cache = Shelf(), MemoryCache()
    products = RememberedProducts(shelf, cache, lambda: 0.5)
    for _ in range(2):
        assert await products.product(MOUSE) == ProductView(MOUSE, "Mouse", 5, 1)
    assert shelf.reads == 1
    await products.change(MOUSE, "Mouse", 7)
    assert await products.product(MOUSE) == ProductView(MOUSE, "Mouse", 7, 0)
    lamp = new_id()
    assert await products.product(lamp) is None
    made = await products.create(lamp, "Lamp", 2)
    assert await products.product(lamp) == made
    assert await products.products(after=None, limit=5) == list(shelf.known.values())
    cache.entries[f"product:{lamp}"] = b"\x93"
    assert await products.product(lamp) == made


async def test_what_another_database_wrote_is_a_miss() -> None:
    """Data made anew, restored, or of another platform are not answered out of one cache."""
    shared = MemoryCache()
    before, after = OwnCache(shared, "1/1/5"), OwnCache(shared, "1/2/5")
    await before.put({"a": b"of the first", "b": b""}, seconds=60)
    assert await before.get(["a", "b", "c"]) == {"a": b"of the first", "b": b""}
    assert await after.get(["a", "b"]) == {}
    await after.put({"a": b"of the second"}, seconds=60)
    assert await after.get(["a"]) == {"a": b"of the second"}
    assert await before.get(["a", "b"]) == {"b": b""}
    await after.drop(["a", "b"])
    assert shared.entries == {}


def test_a_password_is_quoted_and_never_shown(tmp_path: Path) -> None:
    """REDIS_PASSWORD or its file; limits by their names."""
    file = tmp_path / "password"
    file.write_text("of the/file\n")
    given = {"REDIS_HOST": "cache", "REDIS_PASSWORD": "p@ss", "REDIS_TIMEOUT_SECONDS": "0.25"}
    settings = RedisSettings.from_environment(given | {"REDIS_PREFIX": "shop:"})
    assert settings is not None
    assert settings.url == "redis://:p%40ss@cache:6379/0"
    assert (settings.timeout_seconds, settings.prefix) == (0.25, "shop:")
    assert "p%40ss" not in repr(settings)
    del given["REDIS_PASSWORD"]
    given |= {"REDIS_USER": "anna", "REDIS_PASSWORD_FILE": str(file)}
    other = RedisSettings.from_environment(given)
    assert other is not None
    assert other.url == "redis://anna:of%20the%2Ffile@cache:6379/0"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("REDIS_TIMEOUT_SECONDS", "soon"),
        ("REDIS_TIMEOUT_SECONDS", "0"),
        ("REDIS_COMMANDS_MAX", "1.5"),
        ("REDIS_PASSWORD_FILE", "/nowhere/password"),
    ],
)
def test_a_value_of_another_kind_is_refused_at_start(variable: str, text: str) -> None:
    """By the variable's name, not by the first request."""
    with pytest.raises(ConfigurationError, match="REDIS_"):
        RedisSettings.from_environment({"REDIS_HOST": "cache", variable: text})
