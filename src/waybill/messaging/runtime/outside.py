"""One request to the outside, within its time, with an Outcome in any case.

Through the breaker, and a retry within the retry budget: what either turns away makes no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.outcome import (
    Delivered,
    Failed,
    NotFound,
    Outcome,
    QueryOutcome,
    Refused,
    Unknown,
)
from waybill.messaging.core.ports import Delivery

if TYPE_CHECKING:
    from waybill.messaging.core.breaker import Breaker
    from waybill.messaging.core.retry_budget import RetryBudget
    from waybill.messaging.runtime.ports import ServicePorts

Call = Callable[[Delivery], Awaitable[Outcome]]
Query = Callable[[Delivery], Awaitable[QueryOutcome]]
Rejected = Callable[[Delivery], None]
"""Told that the breaker let no call through: none is under way, and none comes soon."""

logger = logging.getLogger(__name__)


class Outside:
    """The other side of one kind of delivery.

    What a call raises means Unknown, for it may have worked; only TransientError says that
    nothing happened. A query that does not get through has changed nothing and counts nothing.
    """

    def __init__(
        self,
        kind: str,
        *,
        ports: ServicePorts,
        breaker: Breaker,
        budget: RetryBudget,
        timeout_seconds: float,
        rejected: Rejected | None = None,
    ) -> None:
        self._kind = kind
        self._rejected = rejected
        self._random = ports.random
        self._clock = ports.clock
        self._observer = ports.observer
        self._breaker = breaker
        self._budget = budget
        self._timeout_seconds = timeout_seconds

    async def call(self, delivery: Delivery, act: Call, *, after_timeout: bool) -> QueryOutcome:
        """Call once; if it was called before, within the retry budget."""
        retries = delivery.attempts > 0 or after_timeout
        return await self._request(delivery, act, retries=retries, after_timeout=after_timeout)

    async def query(self, delivery: Delivery, act: Query) -> QueryOutcome:
        """Ask once. What must be known before another call costs nothing but its time (M6)."""
        return await self._request(delivery, act, is_query=True)

    async def _request(
        self,
        delivery: Delivery,
        act: Call | Query,
        *,
        is_query: bool = False,
        retries: bool = False,
        after_timeout: bool = False,
    ) -> QueryOutcome:
        """A rejection makes no request and is no attempt."""
        start = self._clock.monotonic()
        permit = self._breaker.permit(start)
        if permit is None:
            if self._rejected is not None:
                self._rejected(delivery)
            wait = self._breaker.wait_seconds(start)
            return Failed("breaker open", counts=False, retry_after_seconds=wait)
        if retries and not self._budget.take(start, after_timeout=after_timeout):
            self._breaker.release(permit, start)
            wait = self._budget.policy.wait_seconds * (0.5 + self._random())
            return Failed("retry budget used up", counts=False, retry_after_seconds=wait)
        try:
            outcome = await self._timed(delivery, act, is_query=is_query)
        except BaseException:
            self._breaker.release(permit, self._clock.monotonic())
            raise
        now = self._clock.monotonic()
        failed = isinstance(outcome, Failed | Unknown)
        self._breaker.record(permit, now, failed=failed, seconds=now - start)
        if failed or not is_query:
            self._budget.record(failed=failed)
        self._observer.attempted(self._kind, type(outcome).__name__.lower(), now - start)
        return outcome

    async def _timed(
        self, delivery: Delivery, act: Call | Query, *, is_query: bool
    ) -> QueryOutcome:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if crash_points.hook is not None:
                    point = "delivery.before_query" if is_query else "delivery.before_call"
                    await crash_points.hook(point, self._kind)
                outcome = await act(delivery)
                if crash_points.hook is not None:
                    point = "delivery.after_query" if is_query else "delivery.after_call"
                    await crash_points.hook(point, self._kind)
            if not isinstance(outcome, Delivered | Refused | NotFound | Failed | Unknown):
                reason = f"it returned {outcome!r}, which is no Outcome"  # type: ignore[unreachable] # users' code
                raise TypeError(reason)  # noqa: TRY301 - handled as whatever else it raises
            return outcome  # noqa: TRY300 - as above
        except TransientError as error:
            return Failed(str(error), counts=not is_query)
        except TimeoutError:
            reason = f"no answer within {self._timeout_seconds:g} s"
            return Failed(reason, counts=False) if is_query else Unknown(reason)
        except Exception as error:
            # The user's client: whatever it raises, the call may have worked.
            logger.exception("%s %s: the request raised", self._kind, delivery.key)
            reason = f"{type(error).__name__}: {error}"
            return Failed(reason, counts=False) if is_query else Unknown(reason)
