"""Seed 004's `data` on the wire, and the events that it stands for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from waybill.blueprints.enveloped import EnvelopedCodec, Form
from waybill.blueprints.orchestration_data import (
    NO_CURRENCY,
    About,
    Completed,
    Created,
    Failed,
    Held,
    Item,
    Refund,
    Refunded,
    Rejected,
    Reserved,
    Succeeded,
)
from waybill.blueprints.orchestration_events import (
    ORDER_PREFIX,
    PAYMENT_PREFIX,
    REFUND_PREFIX,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentSucceeded,
    StockRejected,
    id_of,
    order_id_of,
)
from waybill.commerce import contracts
from waybill.commerce.contracts import Reason
from waybill.commerce.money import AMOUNT_MAX, AMOUNT_MIN, SCALE_MAX
from waybill.commerce.sku import SkuLine, made_id, product_of, sku_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from waybill.commerce.contracts import Event, Line

ORDER_EVENTS, PAYMENT_EVENTS, INVENTORY_EVENTS = (
    "order.events",
    "payment.events",
    "inventory.events",
)
WAREHOUSE = "WH-01"

_NOTHING = Decimal(0)


def _shown(order_id: UUID) -> str:
    return f"{ORDER_PREFIX}{order_id}"


def _write_created(event: OrderCreated) -> Created:
    items = tuple([Item(sku_of(line), line.quantity, line.unit_price) for line in event.items])
    return Created(
        order_id=_shown(event.order_id),
        user_id=event.user_id,
        items=items,
        currency=event.currency,
        total=event.total_amount,
        not_after=event.not_after,
    )


def _read_created(data: Created) -> OrderCreated:
    return OrderCreated(
        order_id=order_id_of(data.order_id),
        customer_id=made_id("user", data.user_id),
        user_id=_text(data.user_id),
        items=tuple([_line(each.sku, each.qty, each.price) for each in data.items]),
        total_amount=_amount(data.total),
        currency=data.currency,
        not_after=data.not_after,
    )


def _write_succeeded(event: PaymentSucceeded) -> Succeeded:
    return Succeeded(
        order_id=_shown(event.order_id),
        payment_id=f"{PAYMENT_PREFIX}{event.payment_id}",
        amount=event.amount,
        provider=event.provider,
        auth_code=event.auth_code,
        currency=event.currency,
        items=_held(event.items),
        not_after=event.not_after,
    )


def _read_succeeded(data: Succeeded) -> PaymentSucceeded:
    return PaymentSucceeded(
        order_id=order_id_of(data.order_id),
        payment_id=id_of("payment", PAYMENT_PREFIX, data.payment_id),
        amount=_amount(data.amount),
        items=tuple([_line(each.sku, each.qty, _NOTHING) for each in data.items]),
        currency=data.currency,
        not_after=data.not_after,
        provider=data.provider,
        auth_code=data.auth_code,
    )


def _write_failed(event: PaymentFailed) -> Failed:
    return Failed(
        order_id=_shown(event.order_id),
        amount=event.amount,
        reason=event.reason,
        provider=event.provider,
        detail=event.detail,
    )


def _read_failed(data: Failed) -> PaymentFailed:
    return PaymentFailed(
        order_id=order_id_of(data.order_id),
        reason=data.reason,
        detail=data.detail and _text(data.detail),
        amount=None if data.amount is None else _amount(data.amount),
        provider=data.provider,
    )


def _write_refund(event: contracts.RefundRequested) -> Refund:
    payment_id = None if event.payment_id is None else f"{PAYMENT_PREFIX}{event.payment_id}"
    return Refund(
        order_id=_shown(event.order_id),
        payment_id=payment_id,
        amount=event.amount,
        reason=event.reason,
    )


def _read_refund(data: Refund) -> contracts.RefundRequested:
    return contracts.RefundRequested(
        order_id=order_id_of(data.order_id),
        payment_id=None
        if data.payment_id is None
        else id_of("payment", PAYMENT_PREFIX, data.payment_id),
        amount=_amount(data.amount),
        reason=data.reason,
    )


def _write_refunded(event: contracts.PaymentRefunded) -> Refunded:
    return Refunded(
        order_id=_shown(event.order_id),
        payment_id=f"{PAYMENT_PREFIX}{event.payment_id}",
        amount=event.amount,
        refund_id=f"{REFUND_PREFIX}{event.refund_id}",
    )


def _read_refunded(data: Refunded) -> contracts.PaymentRefunded:
    return contracts.PaymentRefunded(
        order_id=order_id_of(data.order_id),
        payment_id=id_of("payment", PAYMENT_PREFIX, data.payment_id),
        amount=_amount(data.amount),
        refund_id=id_of("refund", REFUND_PREFIX, data.refund_id),
    )


def _write_reserved(event: contracts.StockReserved) -> Reserved:
    held = _held(event.items)
    return Reserved(order_id=_shown(event.order_id), reservations=held, warehouse=WAREHOUSE)


def _read_reserved(data: Reserved) -> contracts.StockReserved:
    """The document has no prices here, and nobody who reads it asks for any."""
    return contracts.StockReserved(
        order_id=order_id_of(data.order_id),
        items=tuple([_line(each.sku, each.qty, _NOTHING) for each in data.reservations]),
        total_amount=_NOTHING,
        currency=NO_CURRENCY,
    )


def _write_rejected(event: contracts.StockRejected) -> Rejected:
    items = event.items if isinstance(event, StockRejected) else ()
    return Rejected(
        order_id=_shown(event.order_id), reason=event.reason, items=items, detail=event.detail
    )


def _read_rejected(data: Rejected) -> StockRejected:
    return StockRejected(
        order_id=order_id_of(data.order_id),
        reason=data.reason,
        detail=data.detail and _text(data.detail),
        items=data.items,
    )


def _write_completed(event: OrderConfirmed | OrderCancelled) -> Completed:
    failed = event if isinstance(event, OrderCancelled) else None
    return Completed(
        order_id=_shown(event.order_id),
        user_id=event.user_id,
        status="FAILED" if failed else "CONFIRMED",
        reason=failed.reason if failed else None,
        total=event.total_amount,
        currency=event.currency,
        detail=failed.detail if failed else None,
    )


def _read_completed(data: Completed) -> OrderConfirmed | OrderCancelled:
    order_id, user_id, total = order_id_of(data.order_id), _text(data.user_id), _amount(data.total)
    if data.status == "CONFIRMED":
        return OrderConfirmed(
            order_id=order_id, user_id=user_id, total_amount=total, currency=data.currency
        )
    return OrderCancelled(
        order_id=order_id,
        user_id=user_id,
        total_amount=total,
        currency=data.currency,
        reason=data.reason or Reason.STOCK_UNAVAILABLE,
        detail=data.detail and _text(data.detail),
    )


def _held(items: Iterable[Line]) -> tuple[Held, ...]:
    return tuple([Held(sku_of(line), line.quantity) for line in items])


def _line(sku: str, quantity: int, price: Decimal) -> SkuLine:
    product_id = product_of(sku)
    if product_id is None:
        raise ValueError(f"{sku!r} is no SKU")
    if not 0 <= price <= AMOUNT_MAX:
        raise ValueError(f"{price} is no price")
    return SkuLine(product_id, quantity, price, sku)


def _amount(amount: Decimal) -> Decimal:
    """NaN raises InvalidOperation in the comparison."""
    if not AMOUNT_MIN <= amount <= AMOUNT_MAX or amount != round(amount, SCALE_MAX):
        raise ValueError(f"{amount} is no amount of money")
    return amount


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds U+0000")
    return text


def _plain(event: type[Event], topic: str, name: str) -> Form:
    """An event that says no more than whose it is."""
    make: Callable[..., Any] = event
    return Form(
        (event,),
        topic,
        name,
        About,
        lambda told: About(order_id=_shown(told.order_id)),
        lambda data: make(order_id=order_id_of(data.order_id)),
    )


FORMS = (
    Form((OrderCreated,), ORDER_EVENTS, "OrderCreated", Created, _write_created, _read_created),
    _plain(contracts.OrderCancelRequested, ORDER_EVENTS, "OrderCancelRequested"),
    _plain(contracts.OrderProcessing, ORDER_EVENTS, "OrderProcessing"),
    _plain(contracts.OrderPaid, ORDER_EVENTS, "OrderPaid"),
    Form(
        (OrderConfirmed, OrderCancelled),
        ORDER_EVENTS,
        "OrderCompleted",
        Completed,
        _write_completed,
        _read_completed,
    ),
    Form(
        (contracts.RefundRequested,),
        ORDER_EVENTS,
        "RefundRequested",
        Refund,
        _write_refund,
        _read_refund,
    ),
    _plain(contracts.StockReleaseRequested, ORDER_EVENTS, "InventoryReleaseRequested"),
    Form(
        (PaymentSucceeded,),
        PAYMENT_EVENTS,
        "PaymentSucceeded",
        Succeeded,
        _write_succeeded,
        _read_succeeded,
    ),
    Form(
        (PaymentFailed,),
        PAYMENT_EVENTS,
        "PaymentFailed",
        Failed,
        _write_failed,
        _read_failed,
    ),
    Form(
        (contracts.PaymentRefunded,),
        PAYMENT_EVENTS,
        "PaymentRefunded",
        Refunded,
        _write_refunded,
        _read_refunded,
    ),
    Form(
        (contracts.StockReserved,),
        INVENTORY_EVENTS,
        "InventoryReserved",
        Reserved,
        _write_reserved,
        _read_reserved,
    ),
    Form(
        (StockRejected,),
        INVENTORY_EVENTS,
        "InventoryFailed",
        Rejected,
        _write_rejected,
        _read_rejected,
    ),
    _plain(contracts.StockReleased, INVENTORY_EVENTS, "InventoryReleased"),
)


def codec() -> EnvelopedCodec:
    """The wire form of every event of this blueprint."""
    return EnvelopedCodec(FORMS)
