"""The load generator: open-loop orders at a rate, or as many as N connections carry.

Latency counts from the *intended* send time, so a platform that stalls cannot hide it. A request
of unknown outcome is sent again with its key until an answer says what became of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from waybill.messaging.core.identity import new_id
from waybill.operations.history import Entry, hash_of, instant, outcome_of
from waybill.operations.http_client import Connection, NotConnectedError
from waybill.operations.plan import Result
from waybill.operations.sent_orders import two_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.blueprints.definition import Blueprint
    from waybill.operations.history import History, Outcome
    from waybill.operations.http_client import Answer
    from waybill.operations.plan import Plan
    from waybill.operations.sent_orders import Content

SWEEP_SECONDS: Final = 0.5
"""How often requests that take too long are looked for: a timer a request would be dear."""
RETRY_SECONDS: Final = 0.1
"""The pause before an unknown request is sent again; it doubles."""
RETRY_SECONDS_MAX: Final = 2.0
TURNED_AWAY_SECONDS: Final = 0.05
"""The pause after a connection that could not be made, and in a closed loop after any refusal."""
RESOLVING_MAX: Final = 1_000
"""Requests of unknown outcome that are sent again at a time; more stay unknown."""
UUID_LENGTH: Final = 36
_CLIENT_ERRORS: Final = range(400, 500)
_TOO_MANY: Final = 429


@dataclass(slots=True)
class _Request:
    """One order to place: the same bytes at every try."""

    content: Content
    key: str
    intended: float
    raw: bytes


class Generator:
    """Sends one plan. `accepted` hears each order's id and when it was meant to be sent.

    Times are of `time.perf_counter`. The history gets every request, the repeated ones too.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        history: History | None = None,
        accepted: Callable[[bytes, float], None] = lambda _order, _intended: None,
    ) -> None:
        self.result = Result()
        self._plan = plan
        self._history = history
        self._accepted = accepted
        self._run = new_id().hex
        self._contents = plan.contents or two_lines(plan.blueprint)
        self._path = plan.blueprint.orders.contract.path
        self._id = id_in_answers(plan.blueprint)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {plan.host}\r\nContent-Type: application/json\r\n"
        )
        self._head = f"{head}{plan.authorization}Idempotency-Key: ".encode()
        self._tails = [
            b"\r\nContent-Length: %d\r\n\r\n%s" % (len(content.body), content.body)
            for content in self._contents
        ]
        self._connections: set[Connection] = set()
        self._resolving: set[asyncio.Task[None]] = set()
        self._ticket = 0
        self._started = self._epoch = 0.0

    async def run(self) -> Result:
        """Send all of it; returns when every request is answered or given up."""
        self._started = time.perf_counter()
        self._epoch = time.time() - self._started  # noqa: TID251 - a history tells the time of day
        sweeping = asyncio.create_task(self._sweep())
        try:
            await asyncio.gather(*(self._worker() for _ in range(self._plan.connections)))
            self.result.seconds = time.perf_counter() - self._started
            await asyncio.gather(*self._resolving)
        finally:
            sweeping.cancel()
            for task in self._resolving:
                task.cancel()
            for connection in self._connections:
                connection.close()
        return self.result

    def _connection(self) -> Connection:
        connection = Connection(self._plan.host, self._plan.port_base + 1)
        self._connections.add(connection)
        return connection

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            oldest = asyncio.get_running_loop().time() - self._plan.timeout_seconds
            for connection in self._connections:
                if connection.since is not None and connection.since < oldest:
                    connection.close()

    async def _worker(self) -> None:
        """Tickets are taken in the order of their times: whoever is free has the next one."""
        connection = self._connection()
        interval = 1 / self._plan.rate if self._plan.rate else 0.0
        end = self._started + self._plan.seconds
        orders_max = self._plan.orders_max or math.inf
        while self._ticket < orders_max:
            ticket, self._ticket = self._ticket, self._ticket + 1
            now = time.perf_counter()
            intended = self._started + ticket * interval if interval else now
            if intended >= end:
                return
            if intended > now:
                await asyncio.sleep(intended - now)
                # A loop that rounds to milliseconds wakes early: what leaves early counts so.
                intended = min(intended, time.perf_counter())
            await self._place(connection, self._request(ticket, intended), ticket)

    def _request(self, ticket: int, intended: float) -> _Request:
        number = ticket % len(self._tails)
        key = f"{self._run}-{ticket}"
        raw = self._head + key.encode() + self._tails[number]
        return _Request(self._contents[number], key, intended, raw)

    async def _place(self, connection: Connection, request: _Request, ticket: int) -> None:
        outcome, answer = await self._send(connection, request, request.intended)
        if outcome == "ok" and answer is not None:
            self._count_accepted(request, answer)
            if self._plan.repeat_every and ticket % self._plan.repeat_every == 0:
                await self._repeat(connection, request)
            if self._plan.cancel_every and ticket % self._plan.cancel_every == 0:
                await self._cancel(connection, self._order_of(answer))
        elif outcome == "info":
            self._resolve_later(request)
        else:
            self._count_refused(request, answer)
            if answer is None or not self._plan.rate:
                await asyncio.sleep(TURNED_AWAY_SECONDS)

    async def _send(
        self, connection: Connection, request: _Request, intended: float
    ) -> tuple[Outcome, Answer | None]:
        """One try; `intended` is when this one was meant to be sent."""
        answer: Answer | None = None
        try:
            answer = await connection.exchange(request.raw)
            outcome = outcome_of(answer.status, answer.body)
        except NotConnectedError:
            outcome = "fail"
        except OSError:
            outcome = "info"
        if self._history is not None:
            self._history.write(self._placing(request, intended, outcome, answer))
        return outcome, answer

    def _placing(
        self, request: _Request, intended: float, outcome: Outcome, answer: Answer | None
    ) -> Entry:
        return Entry(
            at=instant(self._epoch + intended),
            operation="place",
            scope=self._plan.caller,
            key=request.key,
            customer_id=request.content.customer_id,
            payload_hash=request.content.payload_hash,
            status=None if answer is None else answer.status,
            outcome=outcome,
            order_id=self._order_of(answer).decode() if outcome == "ok" and answer else None,
            body_hash=None if answer is None else hash_of(answer.body),
            seconds=time.perf_counter() - intended,
        )

    async def _repeat(self, connection: Connection, request: _Request) -> None:
        outcome, _ = await self._send(connection, request, time.perf_counter())
        if outcome == "ok":
            self.result.replayed += 1

    async def _cancel(self, connection: Connection, order: bytes) -> None:
        intended = time.perf_counter()
        answer: Answer | None = None
        try:
            path = f"{self._path}/{order.decode()}/cancel"
            answer = await connection.request("POST", path, headers=self._plan.authorization)
            outcome = outcome_of(answer.status, answer.body)
        except NotConnectedError:
            outcome = "fail"
        except OSError:
            outcome = "info"
        if outcome == "ok":
            self.result.cancelled += 1
        if self._history is not None:
            at, seconds = instant(self._epoch + intended), time.perf_counter() - intended
            status = None if answer is None else answer.status
            body = None if answer is None else hash_of(answer.body)
            named, caller = order.decode(), self._plan.caller
            self._history.write(
                Entry(at, "cancel", caller, None, None, None, status, outcome, named, body, seconds)
            )

    def _resolve_later(self, request: _Request) -> None:
        if len(self._resolving) >= RESOLVING_MAX:
            self.result.unknown += 1
            return
        task = asyncio.create_task(self._resolve(request))
        self._resolving.add(task)
        task.add_done_callback(self._resolving.discard)

    async def _resolve(self, request: _Request) -> None:
        """The same key again, until an answer tells what became of the first request.

        That later tries are turned away (no connection, 429, 503) says nothing about the first.
        """
        connection = self._connection()
        pause = RETRY_SECONDS
        give_up = time.perf_counter() + self._plan.resolve_seconds
        while time.perf_counter() < give_up:
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_MAX)
            outcome, answer = await self._send(connection, request, time.perf_counter())
            if answer is not None and outcome == "ok":
                self._count_accepted(request, answer)
                break
            if (
                answer is not None
                and answer.status in _CLIENT_ERRORS
                and answer.status != _TOO_MANY
            ):
                self._count_refused(request, answer)
                break
        else:
            self.result.unknown += 1
        connection.close()
        self._connections.discard(connection)

    def _count_accepted(self, request: _Request, answer: Answer) -> None:
        self.result.accepted += 1
        self.result.latencies.append(time.perf_counter() - request.intended)
        self._accepted(self._order_of(answer), request.intended)

    def _count_refused(self, request: _Request, answer: Answer | None) -> None:
        self.result.refused["not connected" if answer is None else str(answer.status)] += 1
        self.result.refusal_latencies.append(time.perf_counter() - request.intended)

    def _order_of(self, answer: Answer) -> bytes:
        return answer.body[self._id]


def id_in_answers(blueprint: Blueprint) -> slice:
    """Where an order's bare id stands: in the first member of the answer's JSON."""
    before = len(f'{{"{blueprint.workload.id_member}":"{blueprint.order_prefix}')
    return slice(before, before + UUID_LENGTH)
