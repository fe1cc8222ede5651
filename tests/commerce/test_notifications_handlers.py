"""Notifications on a real database: one record and one mail for each finished order (P9)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec
from tests.commerce.support import Service, eventually

from waybill.commerce.contracts import OrderCancelled, OrderConfirmed, Reason
from waybill.commerce.notifications.handlers import EMAIL, EmailCalls, NotificationHandler
from waybill.commerce.notifications.mailer import Email, LogMailer
from waybill.commerce.notifications.store import NotificationPages
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, Refused
from waybill.messaging.runtime.deliverer import Deliverer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from waybill.commerce.notifications.mailer import Mailer
    from waybill.messaging.core.outcome import Outcome


class PostOffice:
    """A mailer that keeps what it was given, and refuses mails of one kind."""

    def __init__(self, refused_kind: str = "") -> None:
        self.mails: list[Email] = []
        self._refused_kind = refused_kind

    async def send(self, email: Email) -> Outcome:
        self.mails.append(email)
        if email.kind == self._refused_kind:
            return Refused("550", "No such mailbox")
        return Delivered()


class Desk:
    """The notification service with a mailer."""

    def __init__(self, service: Service, mailer: Mailer) -> None:
        self.service = service
        calls = EmailCalls(mailer)
        self.emails = Deliverer(
            EMAIL,
            ports=service.ports,
            deliveries=service.deliveries,
            call=calls.call,
            settled=calls.settled,
        )
        self.handler = NotificationHandler(emails=self.emails, new_id=new_id)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the loop while the block runs."""
        task = asyncio.create_task(self.emails.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settled(self, count: int) -> list[tuple[str, str]]:
        """Kind and status of all notifications, once `count` are settled."""

        async def enough() -> bool:
            rows = await self.service.rows(
                "SELECT 1 FROM app.notifications WHERE status <> 'PENDING'"
            )
            return len(rows) >= count

        await eventually(enough)
        rows = await self.service.rows("SELECT kind, status FROM app.notifications ORDER BY kind")
        return [(kind, status) for kind, status in rows]


async def test_each_ending_is_told_with_the_documents_words(
    notification: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """R203: the log lines and texts of seed 003, and a row that says SENT."""
    desk = Desk(notification, LogMailer())
    confirmed = OrderConfirmed(order_id=new_id())
    cancelled = OrderCancelled(
        order_id=new_id(), reason=Reason.PAYMENT_REFUSED, detail="Payment declined by provider"
    )
    with caplog.at_level(logging.INFO):
        async with desk.open():
            await notification.handle(desk.handler, [confirmed, cancelled])
            assert await desk.settled(2) == [("OrderCancelled", "SENT"), ("OrderConfirmed", "SENT")]
    lines = [line for line in caplog.messages if line.startswith("[EMAIL]")]
    assert sorted(lines) == [
        f"[EMAIL] Sending cancellation email for order {cancelled.order_id}: {cancelled.detail}",
        f"[EMAIL] Sending confirmation email for order {confirmed.order_id}",
    ]
    kinds = ("OrderConfirmed", "OrderCancelled")
    of_order = notification.stores.notifications_of_order
    pages = NotificationPages(notification.database, kinds, of_order)
    (told,) = await pages.notifications(confirmed.order_id)
    assert told.message == (
        f"Order {confirmed.order_id} has been confirmed. Thank you for your purchase!"
    )
    (told,) = await pages.notifications(cancelled.order_id)
    assert told.message == (
        f"Order {cancelled.order_id} has been cancelled. Reason: Payment declined by provider"
    )
    # Documented ids are text on MariaDB.
    shown = str(told.id) if notification.is_mysql else told.id
    documented = await notification.rows(
        "SELECT id FROM public.notifications WHERE message = $1", told.message
    )
    assert documented == [(shown,)]


async def test_an_ending_that_comes_again_is_not_told_again(notification: Service) -> None:
    """P9, I42: under a new id, in one batch or another, one record and one mail."""
    office = PostOffice()
    desk = Desk(notification, office)
    confirmed = OrderConfirmed(order_id=new_id())
    async with desk.open():
        await notification.handle(desk.handler, [confirmed, confirmed])
        await notification.handle(desk.handler, [confirmed])
        assert await desk.settled(1) == [("OrderConfirmed", "SENT")]
    (mail,) = office.mails
    assert mail.message_id == f"<{confirmed.order_id}.OrderConfirmed@waybill>"
    assert msgspec.json.decode(msgspec.json.encode(mail), type=Email) == mail


async def test_a_mail_that_cannot_be_delivered_is_visibly_failed(notification: Service) -> None:
    """I43: a refusal stands in the notification; the order's end is not touched by it."""
    desk = Desk(notification, PostOffice("OrderCancelled"))
    cancelled = OrderCancelled(order_id=new_id(), reason=Reason.DEADLINE)
    async with desk.open():
        await notification.handle(desk.handler, [cancelled])
        assert await desk.settled(1) == [("OrderCancelled", "FAILED")]
    assert await notification.rows("SELECT detail FROM app.notifications") == [("No such mailbox",)]


async def test_a_batch_of_200_takes_as_many_statements_as_a_batch_of_one(
    notification: Service,
) -> None:
    """Statements a batch are a constant: the mail that is owed is the record."""
    office = PostOffice()
    desk = Desk(notification, office)
    counts = []
    for size in (1, 200):
        notification.database.statements = 0
        endings = [OrderConfirmed(order_id=new_id()) for _ in range(size)]
        await notification.handle(desk.handler, endings)
        counts.append(notification.database.statements)
    # On MariaDB the lease is a statement of its own.
    assert counts == ([2, 2] if notification.is_mysql else [1, 1])
    async with desk.open():
        assert await desk.settled(201) == [("OrderConfirmed", "SENT")] * 201
    assert len({mail.message_id for mail in office.mails}) == len(office.mails) == 201
