"""Customers' addresses: kept in one table, found when a mail goes out, erased when asked."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.commerce.support import NOW
from tests.messaging.ledger import CODEC, Copied

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.reservation import RESERVATION
from waybill.blueprints.reservation_wire import OrderConfirmed
from waybill.commerce import contracts
from waybill.commerce.notifications.contacts import Contacts, named_address
from waybill.commerce.notifications.handlers import NotificationHandler, email_of
from waybill.commerce.notifications.mailer import Email
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.unit import Received
from waybill.messaging.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.commerce.support import Service

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.core.ports import Delivery
    from waybill.messaging.core.unit import UnitOfWork

ADDRESS = "ana@customers.example"


def mail_for(customer: str) -> Email:
    """A mail to them."""
    return Email("<1@waybill>", new_id(), "OrderConfirmed", "text", "line", customer=customer)


async def test_an_address_is_found_changed_and_erased(notification: Service) -> None:
    """C38: a later one replaces it, and what is erased is nowhere; all may be repeated."""
    contacts = Contacts(notification.database, notification.clock.now)
    assert await contacts.address(mail_for("usr_001")) is None
    for address in ("old@customers.example", ADDRESS, ADDRESS):
        put = await contacts.put("usr_001", address)
        assert (put.user_id, put.email, put.updated_at) == ("usr_001", address, NOW)
    assert await contacts.address(mail_for("usr_001")) == ADDRESS
    assert await contacts.address(mail_for("usr_002")) is None
    for _ in range(2):
        await contacts.erase("usr_001")
        assert await contacts.contact("usr_001") is None
    assert await notification.rows("SELECT count(*) FROM personal.contacts") == [(0,)]


async def test_a_customers_uuid_is_one_however_it_is_written(notification: Service) -> None:
    """Events write it in lower case; who fills the contacts may not."""
    contacts = Contacts(notification.database, notification.clock.now)
    customer = new_id()
    put = await contacts.put(str(customer).upper(), ADDRESS)
    assert put.user_id == str(customer)
    assert await contacts.address(mail_for(str(customer))) == ADDRESS


async def test_a_mail_to_nobody_has_no_address(notification: Service) -> None:
    """An event that names no customer is not looked up: the notification is visibly FAILED."""
    assert (
        await Contacts(notification.database, notification.clock.now).address(mail_for("")) is None
    )
    assert await named_address(mail_for("")) is None
    assert await named_address(mail_for(ADDRESS)) == ADDRESS


class Owed:
    """Keeps the deliveries that a handler owes."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def owe(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """See Calls."""
        del unit
        self.deliveries += deliveries


CUSTOMER = UUID(int=7)


@pytest.mark.parametrize(
    ("blueprint", "event", "customer"),
    [
        (
            CHOREOGRAPHY,
            contracts.OrderConfirmed(order_id=new_id(), customer_id=CUSTOMER),
            str(CUSTOMER),
        ),
        (CHOREOGRAPHY, contracts.OrderConfirmed(order_id=new_id()), ""),
        (
            CHOREOGRAPHY,
            contracts.OrderCancelled(
                order_id=new_id(), customer_id=CUSTOMER, reason=contracts.Reason.DEADLINE
            ),
            str(CUSTOMER),
        ),
        (
            RESERVATION,
            OrderConfirmed(order_id=new_id(), total_amount=Decimal(1), customer_email=ADDRESS),
            ADDRESS,
        ),
    ],
)
async def test_a_mail_says_whom_it_is_for(
    blueprint: Blueprint, event: contracts.Event, customer: str
) -> None:
    """The customer's id, never an address but where the document's events hold one (C38)."""
    service, owed = MemoryService(CODEC), Owed()
    handler = NotificationHandler(emails=owed, new_id=new_id, tell=blueprint.tell)
    message = service.message(Copied("x", 1), key="x")
    async with service.database.transaction() as transaction:
        await handler.handle(service.ports.unit(transaction), [Received(message, event)])
    (delivery,) = owed.deliveries
    assert email_of(delivery).customer == customer
    assert (b"@customers" in delivery.request) is (blueprint.known_by_address)
