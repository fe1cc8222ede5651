"""What every payment provider's webhooks must do: be signed, and tell of a call by its key.

For a provider, or the gateway in front of one, that tells us unasked how a call ended.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from waybill.commerce.payments.notices import Notice, NoticeData
from waybill.commerce.payments.webhook import WebhookRefusedError, WebhookSettings, verify

if TYPE_CHECKING:
    from waybill.commerce.testing.payment_provider import Wanted


class Sent(msgspec.Struct, frozen=True):
    """A webhook as it was sent; header names in lower case."""

    headers: dict[str, str]
    body: bytes


class PaymentWebhookContract:
    """Fixtures to give: `told`, a charge that was captured; `sent`, the webhook that tells of it.

    And `secret`, what it was signed with just now (`whsec_…`).
    """

    def test_its_signature_is_ours_to_believe(self, sent: Sent, secret: str) -> None:
        """Standard Webhooks: over id, timestamp and body; not for long, and not for another."""
        settings, now = WebhookSettings(secrets=(secret,)), datetime.now(UTC)  # noqa: TID251 - the sender signed it just now
        assert verify(sent.headers, sent.body, settings, now=now)
        with pytest.raises(WebhookRefusedError):
            verify(sent.headers, sent.body + b" ", settings, now=now)
        with pytest.raises(WebhookRefusedError):
            verify(sent.headers, sent.body, settings, now=now + timedelta(minutes=10))

    def test_it_tells_of_the_call_by_its_key(self, sent: Sent, told: Wanted) -> None:
        """With its end, its name, and the money that was asked: else it is passed over."""
        notice = msgspec.json.decode(sent.body, type=Notice)
        assert notice.type == "charge.settled"
        data = msgspec.json.decode(notice.data, type=NoticeData)
        assert (data.key, data.status) == (told.key, "captured")
        assert (data.amount, data.currency) == (told.amount, told.currency)
        assert data.id
