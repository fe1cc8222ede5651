"""Carries one request to an instance of its service, and to another if it may go there, too.

It may if surely nothing was sent, or if the answer was lost and twice does what once does.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from waybill.commerce.http.problem import Problem
from waybill.edge.gateway.proxy import NoAnswerError, NotSentError, pass_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Receive, Send

    from waybill.edge.gateway.headers import Header
    from waybill.edge.gateway.proxy import Passing, Proxy
    from waybill.edge.gateway.upstreams import Lease, Upstream

logger = logging.getLogger(__name__)

INSTANCES_TRIED_MAX: Final = 2
RETRY_SECONDS: Final = 1


class Client(NamedTuple):
    """Whom the answer goes to."""

    receive: Receive
    send: Send


class Forwarding:
    """`upstreams` by the service's name. A breaker counts what an instance did not answer."""

    def __init__(self, upstreams: Mapping[str, Upstream], proxy: Proxy) -> None:
        self._upstreams = upstreams
        self._proxy = proxy

    async def forward(
        self, service: str, passing: Passing, client: Client, shown: Sequence[Header]
    ) -> None:
        """There and back, with `shown` in the answer's head. Raises Problem 502, 503, 504.

        502 and 504: it may have happened. 503: nothing was done.
        """
        upstream = self._upstreams.get(service)
        tried: set[str] = set()
        lost = False
        while upstream is not None and len(tried) < INSTANCES_TRIED_MAX:
            lease = upstream.lease(tried)
            if lease is None:
                break
            tried.add(lease.instance.url)
            try:
                await self._through(upstream, lease, passing, client, shown)
            except NotSentError as error:
                logger.warning("%s is not there: %s", lease.instance.url, error)
            except NoAnswerError as error:
                logger.warning("%s: %s", lease.instance.url, error)
                if error.late or not passing.repeatable:
                    raise _no_answer(late=error.late) from error
                lost = True
            else:
                return
        raise _no_answer(late=False) if lost else _unavailable(upstream)

    async def _through(
        self,
        upstream: Upstream,
        lease: Lease,
        passing: Passing,
        client: Client,
        shown: Sequence[Header],
    ) -> None:
        failed: bool | None = None  # whoever cancels us says nothing of the instance
        try:
            answer = await self._proxy.begin(lease.instance.url, passing)
            failed = False
            async with answer:
                await pass_on(answer, client.receive, client.send, shown)
        except (NotSentError, NoAnswerError):
            failed = True
            raise
        finally:
            upstream.done(lease, failed=failed)


def _unavailable(upstream: Upstream | None) -> Problem:
    wait = upstream.wait_seconds() if upstream is not None else 0.0
    return Problem(
        503,
        "service_unavailable",
        "The service is not there now: nothing was done, try again",
        headers={"retry-after": str(max(RETRY_SECONDS, math.ceil(wait)))},
    )


def _no_answer(*, late: bool) -> Problem:
    detail = "It may or may not have happened: repeat it with the same Idempotency-Key"
    if late:
        return Problem(504, "service_timeout", detail)
    return Problem(502, "service_failed", detail)
