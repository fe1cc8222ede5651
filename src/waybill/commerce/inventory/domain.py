"""Stock decided purely: never negative, never oversold, conserved to the unit by every move.

A batch is decided order by order over the locked levels (protocol M10). Each order has one
reservation for ever: refused and released ones stay as tombstones, so nothing late holds stock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.contracts import (
    Event,
    Line,
    OrderConfirmed,
    OrderCreated,
    OrderTerms,
    Reason,
    StockRejected,
    StockReleased,
    StockReleaseRequested,
    StockReserved,
)
from waybill.commerce.publication import Publication
from waybill.messaging.core.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from waybill.messaging.core.unit import Received

ASKS = (OrderCreated, StockReleaseRequested, OrderConfirmed)
"""The events that inventory acts on."""

Wants = Callable[[object], OrderTerms | None]
"""The event as a wish for stock, if it is one."""


def wants(event: object) -> OrderTerms | None:
    """A new order wants its lines."""
    return event if isinstance(event, OrderCreated) else None


class ReservationStatus(StrEnum):
    """RESERVED becomes RELEASED or COMMITTED (sold); those and REJECTED never change."""

    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    COMMITTED = "COMMITTED"


class MoveKind(StrEnum):
    """Kinds of ledger entries. All but INITIAL and ADJUST sum to zero."""

    INITIAL = "initial"
    ADJUST = "adjust"
    RESERVE = "reserve"
    RELEASE = "release"
    COMMIT = "commit"


_SIGNS = {
    MoveKind.RESERVE: (-1, 1, 0),
    MoveKind.RELEASE: (1, -1, 0),
    MoveKind.COMMIT: (0, -1, 1),
}
"""Where a move takes units from and puts them: available, reserved, sold. Each sums to zero."""


class Stock(msgspec.Struct, frozen=True):
    """One product's level: initial + adjustments = available + reserved + sold."""

    product_id: UUID
    name: str
    available: int
    reserved: int = 0
    sold: int = 0


class Quantity(msgspec.Struct, frozen=True, rename="camel"):
    """How many of a product an order wants, all its lines of that product together."""

    product_id: UUID
    quantity: int


class Reservation(msgspec.Struct, frozen=True):
    """The one answer to an order. RELEASED without quantities: released before it was asked.

    `version` counts the events published about it.
    """

    order_id: UUID
    status: ReservationStatus
    version: int = 0
    quantities: tuple[Quantity, ...] = ()
    reason: Reason | None = None
    detail: str | None = None


class Move(msgspec.Struct, frozen=True):
    """One ledger entry; a level is the sum of its product's moves."""

    kind: MoveKind
    product_id: UUID
    order_id: UUID | None
    available: int = 0
    reserved: int = 0
    sold: int = 0


class Decision(msgspec.Struct, frozen=True):
    """What a batch changes: new levels and reservations, ledger moves, events in their order."""

    levels: dict[UUID, Stock]
    reservations: dict[UUID, Reservation]
    moves: list[Move]
    publications: list[Publication]


def decide(
    stock: Mapping[UUID, Stock],
    reservations: Mapping[UUID, Reservation],
    received: Iterable[Received],
    now: datetime,
    rejection: Reject | None = None,
    *,
    wants: Wants = wants,
    acceptance: Accept | None = None,
    sells_at_once: bool = False,
) -> Decision:
    """Decide a batch over the locked levels of every product that it names.

    `sells_at_once`: what asks is confirmed, so what is there is sold with the answer, however late
    that is. Other events are passed over. Raises PermanentError, naming the message, for one that
    contradicts the books (a confirmation of stock that was never held).
    """
    batch = _Batch(stock, reservations, now, rejection or reject)
    batch.accept = acceptance or accept
    batch.sells_at_once = sells_at_once
    for item in received:
        event = item.event
        if (ask := wants(event)) is not None:
            batch.reserve(item, ask)
        elif isinstance(event, OrderConfirmed):
            batch.commit(item, event)
        elif isinstance(event, StockReleaseRequested):
            batch.release(item, event)
    return batch.decision()


def products_of(received: Iterable[Received], wants: Wants = wants) -> set[UUID]:
    """The products that a batch's orders name.

    `decide` needs their levels, locked, and those of what the orders' reservations hold.
    """
    wanted: set[UUID] = set()
    for item in received:
        if (ask := wants(item.event)) is not None:
            wanted.update([line.product_id for line in ask.items])
    return wanted


def introduce(product_id: UUID, name: str, available: int) -> tuple[Stock, Move]:
    """A new product with its first stock."""
    level = Stock(product_id, name, available)
    return level, Move(MoveKind.INITIAL, product_id, None, available)


def adjust(level: Stock, *, name: str, available: int) -> tuple[Stock, Move | None]:
    """An operator's count of what is available: a ledger entry of the difference, if any."""
    delta = available - level.available
    adjusted = Stock(level.product_id, name, available, level.reserved, level.sold)
    return adjusted, Move(MoveKind.ADJUST, level.product_id, None, delta) if delta else None


Reject = Callable[[Reservation, Sequence[tuple[Line, int]]], StockRejected]
"""How a refusal is told: the tombstone, and each line wanted with what is available of it."""


def reject(known: Reservation, _shortage: Sequence[tuple[Line, int]]) -> StockRejected:
    """With its reason, and no numbers."""
    return StockRejected(
        order_id=known.order_id,
        reason=known.reason or Reason.STOCK_UNAVAILABLE,
        detail=known.detail,
    )


Accept = Callable[[OrderTerms, Callable[[UUID], int]], StockReserved]
"""How it is told that an order has its stock; the function knows what is left of a product."""


def accept(ask: OrderTerms, _left: Callable[[UUID], int]) -> StockReserved:
    """With the order's lines, its total and its deadline."""
    return StockReserved(
        order_id=ask.order_id,
        items=ask.items,
        total_amount=ask.total_amount,
        currency=ask.currency,
        not_after=ask.not_after,
    )


class _Batch:
    """The working state of one `decide`: plain integers, so that a hot product costs no objects."""

    def __init__(
        self,
        stock: Mapping[UUID, Stock],
        reservations: Mapping[UUID, Reservation],
        now: datetime,
        rejection: Reject,
    ) -> None:
        self.accept: Accept = accept
        self.sells_at_once = False
        self._reject = rejection
        self._stock = stock
        self._before = reservations
        self._now = now
        self._available: dict[UUID, int] = {}
        self._reserved: dict[UUID, int] = {}
        self._sold: dict[UUID, int] = {}
        self._written: dict[UUID, Reservation] = {}
        self._moves: list[Move] = []
        self._publications: list[Publication] = []

    def decision(self) -> Decision:
        """What the batch came to."""
        levels: dict[UUID, Stock] = {}
        for product_id, available in self._available.items():
            level = self._stock[product_id]
            levels[product_id] = Stock(
                product_id,
                level.name,
                available,
                self._reserved[product_id],
                self._sold[product_id],
            )
        return Decision(levels, self._written, self._moves, self._publications)

    def reserve(self, item: Received, ask: OrderTerms) -> None:
        """All lines or nothing; asked again, the recorded answer is repeated (M3)."""
        known = self._reservation(ask.order_id) or self._first_answer(ask)
        if known.status in (ReservationStatus.RESERVED, ReservationStatus.COMMITTED):
            self._answer(item, known, self.accept(ask, self._left))
        else:
            self._answer_nothing_held(item, known, ask)

    def release(self, item: Received, ask: StockReleaseRequested) -> None:
        """Give back what is held and leave a tombstone, also where nothing was held yet (M4)."""
        known = self._reservation(ask.order_id)
        if known is None:
            known = Reservation(ask.order_id, ReservationStatus.RELEASED)
        elif known.status is ReservationStatus.RESERVED:
            known = self._moved(MoveKind.RELEASE, known, ReservationStatus.RELEASED)
        elif known.status is ReservationStatus.COMMITTED:
            raise PermanentError(
                f"order {ask.order_id} asks to release stock that is sold already",
                message_ids=[item.message.id],
            )
        self._answer_nothing_held(item, known)

    def commit(self, item: Received, confirmed: OrderConfirmed) -> None:
        """Book what is held as sold, once."""
        known = self._reservation(confirmed.order_id)
        if known is not None and known.status is ReservationStatus.RESERVED:
            sold = self._moved(MoveKind.COMMIT, known, ReservationStatus.COMMITTED)
            self._written[known.order_id] = sold
        elif known is None or known.status is not ReservationStatus.COMMITTED:
            raise PermanentError(
                f"order {confirmed.order_id} is confirmed but holds no stock",
                message_ids=[item.message.id],
            )

    def _reservation(self, order_id: UUID) -> Reservation | None:
        return self._written.get(order_id) or self._before.get(order_id)

    def _first_answer(self, ask: OrderTerms) -> Reservation:
        quantities = _together(ask)
        refusal = self._refusal(ask, quantities)
        if refusal is not None:
            reason, detail = refusal
            return Reservation(
                ask.order_id, ReservationStatus.REJECTED, reason=reason, detail=detail
            )
        for each in quantities:
            self._move(MoveKind.RESERVE, each, ask.order_id)
        reserved = Reservation(ask.order_id, ReservationStatus.RESERVED, 0, quantities)
        if self.sells_at_once:
            return self._moved(MoveKind.COMMIT, reserved, ReservationStatus.COMMITTED)
        return reserved

    def _refusal(
        self, ask: OrderTerms, quantities: Sequence[Quantity]
    ) -> tuple[Reason, str] | None:
        is_late = ask.not_after is not None and self._now > ask.not_after
        if is_late and not self.sells_at_once:
            return Reason.DEADLINE, "The order's deadline passed before stock was reserved"
        for each in quantities:
            available = self._available.get(each.product_id)
            if available is None:
                level = self._stock.get(each.product_id)
                if level is None:
                    return Reason.STOCK_UNAVAILABLE, f"Product not found: {each.product_id}"
                available = level.available
            if available < each.quantity:
                name = self._stock[each.product_id].name
                return Reason.STOCK_UNAVAILABLE, f"Insufficient stock for product: {name}"
        return None

    def _answer_nothing_held(
        self, item: Received, known: Reservation, ask: OrderTerms | None = None
    ) -> None:
        if known.status is ReservationStatus.REJECTED:
            lines = ask.items if ask else ()
            shortage = [(line, self._left(line.product_id)) for line in lines]
            self._answer(item, known, self._reject(known, shortage))
        else:
            self._answer(item, known, StockReleased(order_id=known.order_id))

    def _left(self, product_id: UUID) -> int:
        level = self._stock.get(product_id)
        return self._available.get(product_id, level.available if level else 0)

    def _answer(self, item: Received, known: Reservation, event: Event) -> None:
        version = known.version + 1
        self._written[known.order_id] = Reservation(
            known.order_id, known.status, version, known.quantities, known.reason, known.detail
        )
        self._publications.append(Publication(event, version, item.message))

    def _moved(self, kind: MoveKind, known: Reservation, status: ReservationStatus) -> Reservation:
        for each in known.quantities:
            self._move(kind, each, known.order_id)
        return Reservation(known.order_id, status, known.version, known.quantities)

    def _move(self, kind: MoveKind, what: Quantity, order_id: UUID) -> None:
        product_id, quantity = what.product_id, what.quantity
        if product_id not in self._available:
            level = self._stock[product_id]
            self._available[product_id] = level.available
            self._reserved[product_id] = level.reserved
            self._sold[product_id] = level.sold
        signs = _SIGNS[kind]
        available, reserved, sold = (quantity * signs[0], quantity * signs[1], quantity * signs[2])
        self._available[product_id] += available
        self._reserved[product_id] += reserved
        self._sold[product_id] += sold
        self._moves.append(Move(kind, product_id, order_id, available, reserved, sold))


def _together(ask: OrderTerms) -> tuple[Quantity, ...]:
    """The order's lines, those of one product added up."""
    if len(ask.items) == 1:
        line = ask.items[0]
        return (Quantity(line.product_id, line.quantity),)
    sums: dict[UUID, int] = {}
    for line in ask.items:
        sums[line.product_id] = sums.get(line.product_id, 0) + line.quantity
    return tuple([Quantity(product_id, quantity) for product_id, quantity in sums.items()])
