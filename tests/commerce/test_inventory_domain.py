"""Stock decided purely: all or nothing, conserved to the unit, answered the same for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commerce.events import HUB, LATE, MOUSE, NOW, ORDER, OTHER_ORDER, created, received

from waybill.commerce.contracts import (
    Event,
    OrderConfirmed,
    Reason,
    StockRejected,
    StockReleased,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.inventory.domain import (
    MoveKind,
    Reservation,
    ReservationStatus,
    Stock,
    adjust,
    decide,
    introduce,
    products_of,
)
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from datetime import datetime

    from waybill.commerce.inventory.domain import Decision, Move


class Warehouse:
    """State that decisions are applied to, as the store does it."""

    def __init__(self, mice: int = 10, hubs: int = 10) -> None:
        self.stock = {MOUSE: Stock(MOUSE, "Wireless Mouse", mice), HUB: Stock(HUB, "Hub", hubs)}
        self.reservations: dict[UUID, Reservation] = {}
        self.moves: list[Move] = []

    def apply(self, *events: Event, now: datetime = NOW) -> Decision:
        """Decide these events as one batch."""
        decision = decide(self.stock, self.reservations, [received(e) for e in events], now)
        self.stock.update(decision.levels)
        self.reservations.update(decision.reservations)
        self.moves += decision.moves
        return decision

    def answers(self, *events: Event, now: datetime = NOW) -> list[Event]:
        """The events that a batch leads to."""
        return [each.event for each in self.apply(*events, now=now).publications]

    def level(self, product: UUID = MOUSE) -> tuple[int, int, int]:
        """Available, reserved, sold."""
        level = self.stock[product]
        return level.available, level.reserved, level.sold


release = StockReleaseRequested(order_id=ORDER)
confirmed = OrderConfirmed(order_id=ORDER)


def test_reserve_then_sell() -> None:
    """Units go from available to reserved, and to sold once the order is confirmed (D18)."""
    warehouse = Warehouse()
    ask = created(ORDER, (MOUSE, 2), (HUB, 1))
    (answer,) = warehouse.answers(ask)
    assert answer == StockReserved(
        order_id=ORDER,
        items=ask.items,
        total_amount=ask.total_amount,
        currency="EUR",
        not_after=ask.not_after,
    )
    assert warehouse.level() == (8, 2, 0)
    assert warehouse.answers(confirmed) == []
    assert (warehouse.level(), warehouse.level(HUB)) == ((8, 0, 2), (9, 0, 1))
    assert warehouse.reservations[ORDER].status is ReservationStatus.COMMITTED


def test_reserve_then_release() -> None:
    """Released units are available again, and the reservation stays as a tombstone."""
    warehouse = Warehouse()
    warehouse.apply(created())
    assert warehouse.answers(release) == [StockReleased(order_id=ORDER)]
    assert warehouse.level() == (10, 0, 0)
    assert [move.kind for move in warehouse.moves] == [MoveKind.RESERVE, MoveKind.RELEASE]


def test_all_or_nothing() -> None:
    """One line that does not fit leaves the others alone, and the answer names its product."""
    warehouse = Warehouse(mice=10, hubs=0)
    (answer,) = warehouse.answers(created(ORDER, (MOUSE, 1), (HUB, 1)))
    assert answer == StockRejected(
        order_id=ORDER,
        reason=Reason.STOCK_UNAVAILABLE,
        detail="Insufficient stock for product: Hub",
    )
    assert warehouse.level() == (10, 0, 0)
    assert warehouse.moves == []


def test_unknown_product() -> None:
    """A product that is not on the books is refused in the document's words."""
    unknown = UUID("99999999-9999-9999-9999-999999999999")
    (answer,) = Warehouse().answers(created(ORDER, (unknown, 1)))
    assert isinstance(answer, StockRejected)
    assert answer.detail == f"Product not found: {unknown}"
    assert answer.reason is Reason.STOCK_UNAVAILABLE


def test_lines_of_one_product_count_together() -> None:
    """Two lines of a product are one wish: 6 + 6 of 10 is refused, 5 + 5 is one move."""
    assert isinstance(Warehouse().answers(created(ORDER, (MOUSE, 6), (MOUSE, 6)))[0], StockRejected)
    warehouse = Warehouse()
    warehouse.apply(created(ORDER, (MOUSE, 5), (MOUSE, 5)))
    assert [(move.available, move.reserved) for move in warehouse.moves] == [(-10, 10)]


def test_a_batch_is_decided_order_by_order() -> None:
    """An order that does not fit refuses itself, never one after it that would (M10)."""
    warehouse = Warehouse(mice=5)
    answers = warehouse.answers(
        created(ORDER, (MOUSE, 4)),
        created(OTHER_ORDER, (MOUSE, 4)),
        created(UUID(int=5), (MOUSE, 1)),
    )
    assert [type(answer) for answer in answers] == [StockReserved, StockRejected, StockReserved]
    assert warehouse.level() == (0, 5, 0)


def test_asked_again_the_answer_is_repeated() -> None:
    """A second ask under a new id changes nothing and gets the recorded answer (M3)."""
    warehouse = Warehouse(mice=2)
    assert warehouse.answers(created()) == warehouse.answers(created(), now=LATE)
    refused = warehouse.answers(created(OTHER_ORDER))
    assert isinstance(refused[0], StockRejected)
    warehouse.stock[MOUSE] = Stock(MOUSE, "Wireless Mouse", 50, 2)
    assert warehouse.answers(created(OTHER_ORDER)) == refused
    assert len(warehouse.moves) == 1


def test_every_undo_is_answered_every_time() -> None:
    """A release is answered again when asked again, and moves the units once."""
    warehouse = Warehouse()
    warehouse.apply(created())
    assert warehouse.answers(release, release) == [StockReleased(order_id=ORDER)] * 2
    assert warehouse.level() == (10, 0, 0)
    refused = Warehouse(mice=0)
    refused.apply(created())
    assert isinstance(refused.answers(release)[0], StockRejected)


def test_release_that_overtakes_the_order_leaves_a_tombstone() -> None:
    """An order that comes after its own release holds nothing (M4)."""
    warehouse = Warehouse()
    assert warehouse.answers(release) == [StockReleased(order_id=ORDER)]
    assert warehouse.answers(created()) == [StockReleased(order_id=ORDER)]
    assert warehouse.level() == (10, 0, 0)


def test_late_orders_are_refused() -> None:
    """After the deadline nothing is reserved; at its very instant and without one it is (M2)."""
    (answer,) = Warehouse().answers(created(), now=LATE)
    assert isinstance(answer, StockRejected)
    assert answer.reason is Reason.DEADLINE
    ask = created()
    assert ask.not_after is not None
    assert isinstance(Warehouse().answers(ask, now=ask.not_after)[0], StockReserved)
    assert isinstance(Warehouse().answers(created(not_after=None), now=LATE)[0], StockReserved)


def test_a_confirmation_counts_once() -> None:
    """A repeated confirmation sells nothing twice."""
    warehouse = Warehouse()
    warehouse.apply(created(), confirmed, confirmed)
    assert warehouse.level() == (8, 0, 2)


def test_contradictions_are_poison() -> None:
    """Events that contradict the books become dead letters, which name the message."""
    item = received(confirmed)
    with pytest.raises(PermanentError, match="holds no stock") as raised:
        decide({}, {}, [item], NOW)
    assert raised.value.message_ids == (item.message.id,)
    warehouse = Warehouse()
    warehouse.apply(created(), confirmed)
    with pytest.raises(PermanentError, match="sold already"):
        warehouse.apply(release)


def test_versions_are_gapless() -> None:
    """The events about one order are numbered without a gap, over batches too."""
    warehouse = Warehouse()
    first = warehouse.apply(created(), created())
    second = warehouse.apply(created(), confirmed, created())
    numbers = [each.aggregate_version for each in (*first.publications, *second.publications)]
    assert numbers == [1, 2, 3, 4]
    assert warehouse.reservations[ORDER].version == 4


def test_products_to_lock() -> None:
    """A batch needs the levels of what it orders; what is held, the lock itself finds."""
    batch = [received(created()), received(StockReleaseRequested(order_id=OTHER_ORDER))]
    assert products_of(batch) == {MOUSE}
    assert products_of([received(release)]) == set()


def test_an_adjustment_is_a_ledger_entry() -> None:
    """Setting the stock moves the difference and leaves reserved and sold units alone."""
    level, first = introduce(MOUSE, "Mouse", 5)
    assert (first.kind, first.available) == (MoveKind.INITIAL, 5)
    raised, move = adjust(Stock(MOUSE, "Mouse", 3, 2, 1), name="Wireless Mouse", available=10)
    assert raised == Stock(MOUSE, "Wireless Mouse", 10, 2, 1)
    assert move is not None
    assert (move.kind, move.available, move.order_id) == (MoveKind.ADJUST, 7, None)
    assert adjust(level, name="Mouse", available=5)[1] is None


orders = st.integers(1, 4).map(lambda number: UUID(int=number))
asks = st.one_of(
    st.builds(
        lambda order, lines: created(order, *lines),
        orders,
        st.lists(
            st.tuples(st.sampled_from([MOUSE, HUB]), st.integers(1, 4)), min_size=1, max_size=3
        ),
    ),
    st.builds(lambda order: StockReleaseRequested(order_id=order), orders),
)


@given(st.lists(asks, max_size=20), st.integers(0, 8))
def test_units_are_conserved(events: list[Event], mice: int) -> None:
    """Whatever comes: never negative, the ledger explains each level, every move sums to 0 (P7)."""
    warehouse = Warehouse(mice=mice)
    for event in events:
        warehouse.apply(event)
        for product, level in warehouse.stock.items():
            counts = warehouse.level(product)
            assert min(counts) >= 0
            moves = [move for move in warehouse.moves if move.product_id == product]
            initial = mice if product == MOUSE else 10
            assert sum(counts) == initial
            assert level.available == initial + sum(move.available for move in moves)
            assert level.reserved == sum(move.reserved for move in moves)
    assert all(move.available + move.reserved + move.sold == 0 for move in warehouse.moves)
    once = [(move.kind, move.product_id, move.order_id) for move in warehouse.moves]
    assert len(once) == len(set(once))


@given(st.lists(asks, max_size=20), st.integers(0, 8))
def test_a_batch_decides_as_one_by_one(events: list[Event], mice: int) -> None:
    """How messages are cut into batches changes no decision (M10)."""
    together, single = Warehouse(mice=mice), Warehouse(mice=mice)
    at_once = together.answers(*events)
    assert at_once == [answer for event in events for answer in single.answers(event)]
    assert together.stock == single.stock
    assert together.reservations == single.reservations
    assert together.moves == single.moves
