"""The port that e-mail goes out by, and the adapter of seed 003: a line in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from waybill.messaging.core import crash_points
from waybill.messaging.core.outcome import Delivered

if TYPE_CHECKING:
    from waybill.messaging.core.outcome import Outcome

logger = logging.getLogger(__name__)


class Email(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mail. `message_id` is the same at every attempt, so that a mailbox can drop repeats.

    `customer` is whom it is for; an address only where a document's events hold one (C38).
    """

    message_id: str
    order_id: UUID
    kind: str
    text: str
    log_line: str
    subject: str = ""
    customer: str = ""


class Mailer(Protocol):
    """Sends mail. A mail may arrive twice only if the answer to the first was lost."""

    async def send(self, email: Email) -> Outcome:
        """Hand one mail over. Does not raise for what the other side says; never blocks long."""


class LogMailer:
    """Writes the documented log line (contracts 1.4); nothing leaves the process."""

    async def send(self, email: Email) -> Outcome:
        """See Mailer."""
        if crash_points.hook is not None:
            await crash_points.hook("mail.before_send", email.message_id)
        logger.info(email.log_line)
        if crash_points.hook is not None:
            await crash_points.hook("mail.after_send", email.message_id)
        return Delivered(email.message_id.encode())
