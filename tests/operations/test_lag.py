"""The gate before a promotion opens only if every consumer runs and keeps up (R273)."""

from __future__ import annotations

from waybill.operations.lag import Lag, behind

EXPECTED = [("payment-service", "order-service"), ("payment-service", "inventory-service")]


def lag(source: str, rows: int | None, *, is_running: bool = True) -> Lag:
    """Of the payment service."""
    return Lag(consumer="payment-service", source=source, rows=rows, is_running=is_running)


def test_it_opens_when_all_keep_up() -> None:
    """The bound itself still passes; a reader that is not one of ours does not count."""
    found = [lag("order-service", 10), lag("inventory-service", 0), lag("elsewhere", 99)]
    assert list(behind(found, EXPECTED, rows_max=10)) == []


def test_it_stays_shut_and_says_for_whom() -> None:
    """Behind, never read, or read by nobody: each by its name."""
    assert list(behind([lag("order-service", 11)], EXPECTED, rows_max=10)) == [
        "payment-service is 11 messages behind order-service, more than 10",
        "payment-service has never read inventory-service",
    ]
    stopped = [lag("order-service", 0), lag("inventory-service", 0, is_running=False)]
    assert list(behind(stopped, EXPECTED, rows_max=10)) == [
        "payment-service does not run: nobody reads inventory-service"
    ]
    unread = [lag("order-service", None), lag("inventory-service", 0)]
    assert list(behind(unread, EXPECTED, rows_max=0)) == [
        "payment-service has never read order-service"
    ]
