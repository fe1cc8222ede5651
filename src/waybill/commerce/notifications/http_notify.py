"""Notifications by HTTP (seed 000): POST /notify, once and three times more, then NOTIFY_FAILED.

The receiver recognises a repeat by its Idempotency-Key, so an answer that was lost is asked for by
the same call. A notification that used up its tries is parked, and tried again now and then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from waybill.commerce.http.client import NoAnswerError, NotSentError, OutsideClient
from waybill.messaging.core.outcome import Delivered, Failed, Refused, Unknown
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.delivery import DeliveryPolicy

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.commerce.http.client import Answer, ClientSettings
    from waybill.messaging.core.outcome import Outcome
    from waybill.messaging.core.ports import Delivery, Settlement
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.outside import Call

NOTIFY: Final = "notify"
"""Kind of the deliveries; the request is an event's JSON (contracts C24)."""

PATH: Final = "/notify"
TRIES_MAX: Final = 4
POLICY: Final = DeliveryPolicy(
    attempts_max=TRIES_MAX,
    failures_max=TRIES_MAX,
    backoff=Backoff(base_seconds=1.0, factor=2.0),
)
"""One try and three retries. A try that the breaker turned away made no call and is none."""

RETRY_SIZE_MAX: Final = 100
RETRY_PAGES_MAX: Final = 100
"""Of a turn: what is beyond waits for the next one."""
_NOT_OUR_REQUEST = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}

Parked = Callable[[], Awaitable[Sequence["UUID"]]]
TryAgain = Callable[[Sequence["UUID"]], Awaitable[object]]


class HttpNotifier:
    """Tells the other side, for the deliverer of NOTIFY. `close` it at the end."""

    def __init__(self, settings: ClientSettings) -> None:
        self._client = OutsideClient(settings)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def call(self, delivery: Delivery) -> Outcome:
        """One attempt. Its Idempotency-Key is the event's id, else the delivery's key."""
        key = str(delivery.causation_id or delivery.key)
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        if delivery.traceparent:
            headers["traceparent"] = delivery.traceparent
        if delivery.correlation_id:
            headers["X-Correlation-ID"] = delivery.correlation_id
        try:
            answer = await self._client.send("POST", PATH, delivery.request, headers)
        except NotSentError as error:
            return Failed(f"/notify not reached: {error}", counts=error.counts)
        except NoAnswerError as error:
            return Unknown(f"no answer from /notify: {error}")
        return _outcome(answer)

    async def settled(
        self, unit: UnitOfWork, settled: Sequence[tuple[Delivery, Settlement]]
    ) -> None:
        """Nothing more: its delivery says whether it is NOTIFY_SUCCESS, or was refused."""


def persistent(call: Call) -> Call:
    """The same call, but nothing that the other side says is final: only an operator gives up."""

    async def again(delivery: Delivery) -> Outcome:
        outcome = await call(delivery)
        return Failed(outcome.detail) if isinstance(outcome, Refused) else outcome

    return again


class FailedNotifications:
    """The periodic retry (OutboxRetryScheduler): parked ones are tried again, a page after another.

    `parked` gives those of one page, and `try_again` has the deliverer try them.
    """

    def __init__(self, parked: Parked, try_again: TryAgain) -> None:
        self._parked = parked
        self._try_again = try_again

    async def retry(self) -> int:
        """Have the deliverer try a page; how many. Safe to repeat: one that succeeds is closed."""
        ids = await self._parked()
        if ids:
            await self._try_again(ids[:RETRY_SIZE_MAX])
        return min(len(ids), RETRY_SIZE_MAX)

    async def retry_all(self) -> None:
        """All that are parked now: one that fails for good keeps no other from its turn."""
        for _ in range(RETRY_PAGES_MAX):
            if await self.retry() < RETRY_SIZE_MAX:
                return


def _outcome(answer: Answer) -> Outcome:
    status = answer.status
    said = f"/notify answered {status}"
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered(str(status).encode())
    if status in _NOT_OUR_REQUEST:
        return Refused(f"http_{status}", said)
    if status in _LATER:
        return Failed(said, retry_after_seconds=answer.retry_after_seconds)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unknown(said)
    return Failed(f"{said}: check its URL")
