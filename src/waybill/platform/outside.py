"""Who the platform talks to outside, by settings: a mail server and a cache, or neither.

Read once, before anything starts, so that a mistake is told then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from waybill.commerce.caching.settings import RedisSettings
from waybill.commerce.notifications.mailer import LogMailer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from waybill.commerce.notifications.mailer import Mailer
    from waybill.commerce.notifications.smtp import Addresses, SmtpSettings


@dataclass(frozen=True)
class Outside:
    """Nothing by default: mail is a line in the log, and the database answers everything."""

    smtp: SmtpSettings | None = None
    redis: RedisSettings | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """By SMTP_* and FROM_EMAIL, and REDIS_*. Raises ConfigurationError."""
        return cls(_smtp(environment), RedisSettings.from_environment(environment))

    def mailer(self, addresses: Addresses, now: Callable[[], datetime]) -> Mailer:
        """What mails go out by; `addresses` are asked when one does."""
        if self.smtp is None:
            return LogMailer()
        from waybill.commerce.notifications.smtp import SmtpMailer  # noqa: PLC0415 - see _smtp

        return SmtpMailer(self.smtp, addresses=addresses, now=now)

    def mails_at_once(self, usual: int) -> int:
        """Deliveries of mail under way: no more than the server may be asked at once."""
        return usual if self.smtp is None else min(usual, self.smtp.connections_max)


def _smtp(environment: Mapping[str, str]) -> SmtpSettings | None:
    if not environment.get("SMTP_HOST"):
        return None
    # Only platforms that mail load its client.
    from waybill.commerce.notifications.smtp import SmtpSettings  # noqa: PLC0415

    return SmtpSettings.from_environment(environment)


NOTHING_OUTSIDE = Outside()
