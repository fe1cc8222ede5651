"""The events of commerce: one canonical set, frozen, each about one order."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from waybill.commerce.contracts import EVENTS, ORCHESTRATED, Event, OrderConfirmed, Reason


@pytest.mark.parametrize("event", [*EVENTS, *ORCHESTRATED], ids=lambda event: event.__name__)
def test_every_event_names_its_order(event: type[Event]) -> None:
    """The order's id is the partition key of them all, in camel case, and says who emits it."""
    assert event.__struct_fields__[0] == "order_id"
    assert event.__struct_encode_fields__[0] == "orderId"
    assert event.__struct_config__.frozen
    assert event.__doc__
    assert event.__doc__.startswith("By ")


def test_no_event_is_forgotten() -> None:
    """Every event type that exists is in the list that blueprints and audits go by."""
    ours = {each for each in Event.__subclasses__() if ".commerce." in each.__module__}
    assert ours == {*EVENTS, *ORCHESTRATED}


def test_events_do_not_change() -> None:
    """A fact is not edited."""
    event = OrderConfirmed(order_id=UUID(int=1))
    with pytest.raises(AttributeError):
        event.order_id = UUID(int=2)  # type: ignore[misc]


def test_reasons_are_the_documented_codes() -> None:
    """Four codes, as contracts section 7 lists them."""
    codes = ["stock_unavailable", "payment_refused", "customer_cancelled", "deadline"]
    assert [str(reason) for reason in Reason] == codes
    assert msgspec.json.encode(Reason.DEADLINE) == b'"deadline"'
