"""The payment service and its provider as the walk sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from waybill.commerce.checker.model import Kind, Move, Result, ViolationError
from waybill.commerce.checker.one_order import ORDER_ID, PAYMENT_ID, clock, received
from waybill.commerce.contracts import OrderCancelled, RefundRequested
from waybill.commerce.payments import domain as payments
from waybill.messaging.core.outcome import Delivered, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waybill.commerce.contracts import Event


class PaymentState(NamedTuple):
    """The books, the charge's delivery and what the provider itself has done.

    `charge` is "", "owed", "called" (an answer may come), "unknown" (ask first) or "settled".
    """

    payment: payments.Payment | None = None
    asked: bytes = b""
    charge: str = ""
    cancelled: bool = False
    refund_owed: bool = False
    captured: bool = False
    refunded: bool = False
    unknowns: int = 1
    strays: int = 1
    stray: bool = False


class PaymentActor:
    """Keeps the books, and its provider captures, refuses or leaves it in the dark.

    An unknown outcome may wait as long as it likes: that is also a delivery parked for an
    operator. A stray call is one whose lease was lost: the provider may capture it late (M6).
    """

    name = "payment"

    def __init__(
        self,
        decide: Callable[..., payments.Decision] = payments.decide,
        *,
        unknowns: int = 1,
        strays: int = 1,
        charges: payments.Charges = payments.charges,
        charge_events: payments.ChargeEvents = payments.CHARGE_EVENTS,
    ) -> None:
        self._decide = decide
        self._charges = charges
        self._charge_events = charge_events
        self._first = PaymentState(unknowns=unknowns, strays=strays)

    def start(self) -> Result:
        """Nothing asked, nothing captured."""
        return Result(self._first)

    def reads(self, event: Event) -> bool:
        """What payments act on."""
        asked = self._charges(event) is not None
        return asked or isinstance(event, (OrderCancelled, RefundRequested))

    def receive(self, state: PaymentState, event: Event, *, late: bool) -> Result:
        """Decide one message; a second charge of one order must never be owed (P6)."""
        known = {} if state.payment is None else {ORDER_ID: state.payment}
        decision = self._decide(
            known,
            received(event),
            now=clock(late=late),
            new_id=lambda: PAYMENT_ID,
            charges=self._charges,
            charge_events=self._charge_events,
        )
        owed = [delivery.kind for delivery in decision.deliveries]
        if payments.CHARGE in owed and state.charge:
            raise ViolationError("the order is charged a second time")
        if payments.REFUND in owed and (state.refund_owed or state.refunded):
            raise ViolationError("the payment is refunded a second time")
        asked = [each.request for each in decision.deliveries if each.kind == payments.CHARGE]
        after = state._replace(
            payment=_uncounted(decision.payments.get(ORDER_ID, state.payment)),
            asked=asked[0] if asked else state.asked,
            charge="owed" if payments.CHARGE in owed else state.charge,
            refund_owed=state.refund_owed or payments.REFUND in owed,
            cancelled=state.cancelled or bool(decision.cancels),
        )
        return Result(after, tuple(each.event for each in decision.publications))

    def moves(self, state: PaymentState, *, late: bool) -> Iterable[Move]:
        """What the deliverer and the provider may do next."""
        if state.charge == "owed":
            yield from self._owed(state, late=late)
        elif state.charge == "called":
            yield from self._called(state)
        elif state.charge == "unknown":
            yield from self._unknown(state)
        if state.stray and not state.captured:
            label = "the stray call is captured after all"
            yield Move(label, Kind.OPTIONAL, self._capture(state))
        if state.refund_owed:
            yield Move("the provider refunds", Kind.DUE, _refunded(state))

    def _owed(self, state: PaymentState, *, late: bool) -> Iterable[Move]:
        if state.cancelled or late:
            why = "cancelled" if state.cancelled else "deadline"
            yield Move(f"the charge is not made: {why}", Kind.DUE, self._refused(state, why))
        else:
            yield Move("the provider is called", Kind.DUE, Result(state._replace(charge="called")))

    def _called(self, state: PaymentState) -> Iterable[Move]:
        yield Move("the provider captures", Kind.DUE, self._capture(state))
        if not state.captured:
            yield Move("the provider refuses", Kind.DUE, self._refused(state, "declined"))
        if state.unknowns:
            lost = state._replace(charge="unknown", unknowns=state.unknowns - 1)
            yield Move(
                "the provider captures, its answer is lost",
                Kind.DUE,
                Result(lost._replace(captured=True)),
            )
            yield Move("the call is lost", Kind.DUE, Result(lost))
        if state.strays:
            stray = state._replace(charge="owed", strays=state.strays - 1, stray=True)
            yield Move("the lease of the call is lost", Kind.DUE, Result(stray))

    def _capture(self, state: PaymentState) -> Result:
        return _settled(state._replace(captured=True), Delivered(), self._charge_events)

    def _refused(self, state: PaymentState, why: str) -> Result:
        return _settled(state, Refused(why), self._charge_events)

    def _unknown(self, state: PaymentState) -> Iterable[Move]:
        if state.captured:
            yield Move("the provider is asked: it captured", Kind.DUE, self._capture(state))
        else:
            owed = Result(state._replace(charge="owed"))
            yield Move("the provider is asked: it knows of no call", Kind.DUE, owed)


def _uncounted(payment: payments.Payment | None) -> payments.Payment | None:
    return None if payment is None else msgspec.structs.replace(payment, version=0)


_charge_of = msgspec.json.Decoder(payments.ChargeRequest).decode


def _settled(
    state: PaymentState,
    settlement: Delivered | Refused,
    charge_events: payments.ChargeEvents,
) -> Result:
    if state.payment is None:
        raise ViolationError("a charge is settled that is not in the books")
    asked = state.asked
    done = payments.charge_settled(
        state.payment, settlement, charge_events, lambda: _charge_of(asked)
    )
    if done is None:
        return Result(state._replace(charge="settled"))
    payment, publication = done
    after = state._replace(charge="settled", payment=_uncounted(payment))
    return Result(after, (publication.event,))


def _refunded(state: PaymentState) -> Result:
    if state.payment is None or not state.captured:
        raise ViolationError("money is refunded that was never captured")
    done = payments.refund_settled(state.payment, Delivered())
    after = state._replace(refund_owed=False, refunded=True)
    if done is None:
        return Result(after)
    payment, publication = done
    return Result(after._replace(payment=_uncounted(payment)), (publication.event,))
