"""The intake's flush: many requests, one transaction, each key at most one order (P5).

The idempotency row is inserted with its order, so there is no state in between (B36). A request's
order id is fixed before its first flush and kept over re-runs: a conflict that carries that id is
this request's own commit, whose answer was lost (protocol I2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.http.surface import encoded
from waybill.commerce.orders import domain, store
from waybill.commerce.orders.contract import as_it_is
from waybill.commerce.orders.representation import view_as_placed
from waybill.commerce.orders.request import KeyReused, NotTaken, Outcome, Placed, PlaceOrder
from waybill.commerce.orders.store import Key, KeyRecord
from waybill.commerce.publication import Publication
from waybill.commerce.publishing import count, publish
from waybill.commerce.timeline import TimelineEntry
from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import OverloadedError
from waybill.messaging.runtime.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from waybill.commerce.orders.contract import Show
    from waybill.commerce.orders.domain import Makers
    from waybill.commerce.orders.ports import OrderStore
    from waybill.commerce.process import Process
    from waybill.commerce.publishing import Counters
    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.core.unit import UnitOfWork
    from waybill.messaging.runtime.group_commit import GroupCommitPolicy
    from waybill.messaging.runtime.loop import Loop
    from waybill.messaging.runtime.ports import ServicePorts


class Entry(msgspec.Struct, frozen=True):
    """A request on its way into a flush; `order_id` and `accepted_at` are kept over re-runs."""

    order_id: UUID
    accepted_at: datetime
    request: PlaceOrder

    @property
    def key(self) -> Key:
        """The identity that decides which requests are one."""
        return Key(self.request.scope, self.request.route, self.request.key)


class Draft(msgspec.Struct, frozen=True):
    """An order as it would be stored."""

    entry: Entry
    order: domain.Order
    first: TimelineEntry
    created: Publication | None
    record: KeyRecord


Begin = Callable[["UnitOfWork", Sequence[tuple[domain.Order, str]]], Awaitable[None]]
"""Owes the calls that orders begin with, in their transaction; with each its traceparent."""


class OrderIntake:
    """The `Intake` of the order service's API: requests of one flush commit together.

    `loop` must run while it is used.
    """

    def __init__(
        self,
        flush: OrderFlush,
        ports: ServicePorts,
        *,
        policy: GroupCommitPolicy | None = None,
        brake: Callable[[], None] = lambda: None,
        capacity: Callable[[], None] = lambda: None,
    ) -> None:
        self._flush = flush
        self._database = ports.database
        self._brake = brake
        self._capacity = capacity
        self._group: GroupCommit[Entry, Outcome] = GroupCommit(
            "intake",
            flush.flush,
            clock=ports.clock,
            observer=ports.observer,
            random=ports.random,
            policy=policy,
        )

    @property
    def loop(self) -> Loop:
        """What flushes."""
        return self._group

    @property
    def queued(self) -> int:
        """Requests that wait for the next commit."""
        return self._group.queued

    def admit(self) -> None:
        """Raise OverloadedError if a new order would have to wait too long (protocol I5).

        Or if the brake is on: events are not read as fast as orders come. The set capacity comes
        last: what is refused for another reason uses nothing of it.
        """
        try:
            self._brake()
            self._group.admit()
            self._capacity()
        except OverloadedError:
            self._flush.counters.add("intake_refused_total", reason="load")
            raise

    async def place(self, request: PlaceOrder) -> Outcome:
        """Store the order, or find the one that this key placed. Returns after the commit."""
        return await self._group.submit(self._flush.entry(request))

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        """What this key placed while there were no tokens, if it was this very request."""
        orders = self._flush.orders
        found = await store.anonymous_response(orders, self._database, route, key, request_hash)
        return Placed(found[1], replayed=True, order_id=found[0]) if found is not None else None


class OrderFlush:
    """The flush function of the intake's group commit: one entry in, one result out, in order."""

    def __init__(
        self,
        ports: ServicePorts,
        *,
        process: Process,
        deadline: timedelta,
        counters: Counters,
        makers: Makers = domain.MAKERS,
        placed: Show = as_it_is,
        store: OrderStore = store,
        begin: Begin | None = None,
    ) -> None:
        self.orders = store
        self._makers = makers
        self._begin = begin
        self._placed = placed
        self._ports = ports
        self._process = process
        self._deadline = deadline
        self.counters = counters

    def entry(self, request: PlaceOrder) -> Entry:
        """Fix the request's order id and its instant."""
        return Entry(self._ports.new_id(), self._ports.clock.now(), request)

    async def flush(self, entries: Sequence[Entry]) -> list[Outcome | Exception]:
        """Place what is new, find what is not. All entries commit together or none does."""
        leaders: dict[Key, Entry] = {}
        for entry in entries:
            leaders.setdefault(entry.key, entry)
        records = await self._commit({key: self._draft(key, each) for key, each in leaders.items()})
        return [_result(entry, records[entry.key], leaders[entry.key]) for entry in entries]

    async def _commit(self, drafts: Mapping[Key, Draft]) -> Mapping[Key, KeyRecord | NotTaken]:
        async with self._ports.database.transaction() as transaction:
            records = await self._store(transaction, drafts)
            if crash_points.hook is not None:
                await crash_points.hook("intake.before_commit", "intake")
        if crash_points.hook is not None:
            await crash_points.hook("intake.after_commit", "intake")
        return records

    def _draft(self, key: Key, entry: Entry) -> Draft:
        command = domain.PlaceOrder(
            entry.request.customer_id,
            entry.request.items,
            entry.request.currency,
            entry.request.particulars,
            entry.request.correlation_id,
        )
        order, first, created = domain.place(
            self._process,
            command,
            entry.order_id,
            now=entry.accepted_at,
            deadline=self._deadline,
            makers=self._makers,
        )
        response = encoded(self._placed(view_as_placed(order), order.particulars))
        record = KeyRecord(key, entry.order_id, entry.request.fingerprint, response)
        return Draft(entry, order, first, created, record)

    async def _store(
        self, transaction: Transaction, drafts: Mapping[Key, Draft]
    ) -> Mapping[Key, KeyRecord | NotTaken]:
        """The record behind each key: ours where the key was free, else the one that was there."""
        unit = self._ports.unit(transaction)
        first = next(iter(drafts.values())).first
        ids = await self.orders.place(
            transaction, [(draft.order, draft.record) for draft in drafts.values()], first
        )
        won = [draft for draft in drafts.values() if draft.order.id in ids]
        records: dict[Key, KeyRecord | NotTaken] = {each.record.key: each.record for each in won}
        lost = [key for key in drafts if key not in records]
        if lost:
            records.update(await self.orders.read_keys(transaction, lost))
        if self._begin is not None and won:
            traced = [(draft.order, draft.entry.request.traceparent) for draft in won]
            await self._begin(unit, traced)
        for draft in won:
            if draft.created is None:
                continue
            publish(
                unit,
                [draft.created],
                aggregate_type="Order",
                traceparent=draft.entry.request.traceparent,
            )
        count(unit, self.counters, "orders_created_total", len(won))
        return records


def _result(entry: Entry, record: KeyRecord | NotTaken, leader: Entry) -> Outcome | OverloadedError:
    if isinstance(record, NotTaken):
        if entry.request.fingerprint == leader.request.fingerprint:
            return record
        # The leader failed and left the key free: its followers enter again (protocol I1).
        return OverloadedError("another request with this key was refused; nothing was done")
    if record.request_hash != entry.request.fingerprint:
        return KeyReused(record.order_id)
    own = record.order_id == entry.order_id and entry is leader
    return Placed(record.response, replayed=not own, order_id=record.order_id)
