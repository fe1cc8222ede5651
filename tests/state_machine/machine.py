"""The rules: all that customers, networks, machines, clocks and operators do to the platform.

No rule has a precondition: what a step finds to do depends on the run, which steps there are does
not. After every step the invariants that hold always are asked of each database that was written
to; at the end everything is healed, comes to rest within the promised time, and the rest is asked.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.state_machine.customers import uuid_of
from tests.state_machine.faults import Act, Fault
from tests.state_machine.gates import Fate, Grant

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import httpx2
    from tests.state_machine.customers import Customers
    from tests.state_machine.simulation import Simulation

PRODUCTS = {UUID(int=0xA): 3, UUID(int=0xB): 6}
SECONDS_TO_REST = 60.0
"""Promise P1: every order ends at most so long after the last fault heals."""
DEADLINE_SECONDS = 901.0
RETRY_SECONDS = 60.0
"""Until notifications that were given up are tried again (contracts of seed 000)."""
JUMP_SECONDS = 5.0
ROUNDS_MAX = 300
DAYS_30 = 30 * 86_400.0

services = st.integers(0, 11)
"""One of the blueprint's; twelve numbers are shared out evenly among up to four of them."""
lines = st.lists(
    st.tuples(st.sampled_from(sorted(PRODUCTS)), st.integers(1, 3)), min_size=1, max_size=2
)
orders = st.tuples(lines, st.sampled_from([True, True, True, False]))
faults = st.tuples(st.sampled_from(Act), st.integers(0, 8))
small = st.integers(0, 7)
grants = st.builds(Grant, st.integers(1, 4), small, st.integers(0, 2))


@dataclass
class Wish:
    """One order as its customer knows it."""

    key: str
    body: dict[str, Any]
    answer: bytes | None = None
    order_id: str | None = None
    cancelled: bool = False
    came_too_late: bool = False


class OrdersMachine(RuleBasedStateMachine):
    """See the module. A test gives the class its world: what a world costs is paid once."""

    world: ClassVar[Simulation]

    def __init__(self) -> None:
        super().__init__()
        self.wishes: list[Wish] = []
        self.discarded = False
        self._checked: dict[str, tuple[int, int]] = {}

    @property
    def customers(self) -> Customers:
        """Those of the blueprint."""
        return self.world.customers

    def _service(self, which: int | str) -> str:
        names = sorted(self.world.plans)
        return which if isinstance(which, str) else names[which % len(names)]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever work returns
        return self.world.run(work)

    @initialize(wanted=st.lists(orders, min_size=1, max_size=3))
    def begin(self, wanted: list[tuple[list[tuple[UUID, int]], bool]]) -> None:
        """Every service runs, and some customers have ordered."""
        self._run(self.world.begin(self.customers.stock(PRODUCTS)))
        for items, charged in wanted:
            self._place(items, charged=charged)

    # Customers

    @rule(order=orders)
    def place(self, order: tuple[list[tuple[UUID, int]], bool]) -> None:
        """One more order."""
        wanted, charged = order
        self._place(wanted, charged=charged)

    def _place(self, wanted: list[tuple[UUID, int]], *, charged: bool) -> None:
        """A customer orders; `charged` tells whether the card is good."""
        wish = Wish(f"key-{len(self.wishes)}", self.customers.body(wanted))
        self.wishes.append(wish)
        self.world.ids.upcoming(charged=charged)
        self._heard(wish, self._post(wish.key, wish.body))

    @rule(which=small)
    def retry(self, which: int) -> None:
        """The same request again gets the first answer, byte for byte (P5)."""
        wish = self.wishes[which % len(self.wishes)]
        self._heard(wish, self._post(wish.key, wish.body))

    @rule(which=small)
    def retry_with_another_body(self, which: int) -> None:
        """A key that placed an order takes no other body (P5)."""
        known = [wish for wish in self.wishes if wish.order_id]
        if not known:
            return
        wish = known[which % len(known)]
        another = self.customers.another(wish.body)
        answer = self._post(wish.key, another) if another else None
        if answer is not None and answer.status_code != 503:
            contract = self.world.blueprint.orders.contract
            assert answer.status_code == contract.key_reused_status
            assert answer.json()["code"] == "idempotency_key_reused"

    @rule(which=small)
    def cancel(self, which: int) -> None:
        """A customer cancels; what they are told stands for ever (P8)."""
        known = [wish for wish in self.wishes if wish.order_id]
        if not known:
            return
        wish = known[which % len(known)]
        self._heard_of_cancel(wish, self._run(self._ask_to_cancel(wish)))

    async def _ask_to_cancel(self, wish: Wish) -> httpx2.Response | None:
        path = self.customers.cancel_path(wish.order_id or "")
        return await self.world.request("POST", path) if path else None

    def _heard_of_cancel(self, wish: Wish, answer: httpx2.Response | None) -> None:
        if answer is None or answer.status_code == 503:
            return
        if answer.status_code == 202:
            return  # asked for: who decides is told by an event (protocol M8)
        if answer.status_code == 200:
            wish.cancelled = True
            assert answer.json()["status"] in self.world.blueprint.process.failures
        else:
            wish.came_too_late = True
            assert answer.status_code == 409
            assert answer.json()["code"] == "order_not_cancellable"
        process = self.world.blueprint.process
        may_fail_later = process.lifecycle[process.confirmed.status]
        assert may_fail_later or not (wish.cancelled and wish.came_too_late)

    # Messages

    @rule(batches=st.lists(st.tuples(services, grants, st.none() | faults), min_size=1, max_size=4))
    def deliver(self, batches: list[tuple[int | str, Grant, tuple[Act, int] | None]]) -> None:
        """Consumers take batches: lanes and topics in any order, some of it again."""
        for which, grant, fault in batches:
            service = self._service(which)
            if fault is not None:
                self.world.lives[service].process.fault = Fault(*fault)
            self._run(self.world.deliver(service, grant))
            self._run(self._check())

    @rule(order=small, fates=st.lists(st.none() | st.sampled_from(Fate), min_size=1, max_size=4))
    def flow(self, order: int, fates: list[Fate | None]) -> None:
        """Everything that waits moves some steps on; outside calls end so, or not yet."""

        async def move() -> None:
            for fate in fates:
                for service in self.world.plans:
                    await self.world.deliver(service, Grant(order=order))
                    while fate is not None and self.world.lives[service].calls.waiting:
                        await self.world.answer(service, 0, fate)

        self._run(move())

    @rule(which=small, fate=st.sampled_from(Fate))
    def answer(self, which: int, fate: Fate) -> None:
        """An outside call ends."""
        waiting = [service for service, life in self.world.lives.items() if life.calls.waiting]
        if waiting:
            self._run(self.world.answer(waiting[which % len(waiting)], which, fate))

    @rule(fate=st.sampled_from(Fate))
    def choose(self, fate: Fate) -> None:
        """How outside calls end from now on that a request waits for."""
        self.world.inside = fate

    # Faults

    @rule(service=services, fault=faults)
    def go_wrong(self, service: int | str, fault: tuple[Act, int]) -> None:
        """A connection breaks, a process dies or an answer is lost, some statements from now."""
        self.world.lives[self._service(service)].process.fault = Fault(*fault)

    @rule(service=services, alone=st.booleans())
    def kill(self, service: int | str, alone: bool) -> None:  # noqa: FBT001 - hypothesis names it
        """SIGKILL between two transactions, and a new start."""

        async def again() -> None:
            await self.world.kill(self._service(service))
            await self.world.restart(self._service(service), alone=alone)

        self._run(again())

    @rule(service=services)
    def cut_off(self, service: int | str) -> None:
        """A service's database cannot be reached for a while."""
        self.world.lives[self._service(service)].process.down = True

    @rule()
    def heal(self) -> None:
        """Whatever was down is up again."""
        self._heal()

    @rule(seconds=st.sampled_from([1.0, 1.0, 7.0, 31.0, 61.0, DEADLINE_SECONDS]))
    def wait(self, seconds: float) -> None:
        """Backoffs, leases and deadlines end."""
        self._run(self.world.advance(seconds))

    # Operators

    @rule(service=services)
    def poison(self, service: int | str) -> None:
        """The next message of this consumer is one that its code cannot apply."""
        self.world.poison_next.add(self._service(service))

    @rule(which=small, fixed=st.booleans())
    def redrive(self, which: int, fixed: bool) -> None:  # noqa: FBT001 - hypothesis names it
        """An operator sends a dead letter again, perhaps before the code is fixed."""

        async def judge() -> None:
            found = await self._letters()
            if found:
                service, letter = found[which % len(found)]
                message_id = letter.record.message.id
                if fixed:
                    self.world.poison.discard((service, message_id))
                await self.world.verdicts.redrive_dead_letters(
                    self.world.pool(service),
                    letter.consumer,
                    [message_id],
                    who="test",
                    why="fixed",
                    inbox_retention_seconds=DAYS_30,
                )

        self._run(judge())

    @rule(which=small)
    def discard(self, which: int) -> None:
        """An operator gives a message up; what it should have done is asked again (M3)."""
        blueprint = self.world.blueprint
        # Nobody asks again after these, so an operator who discards one has to act by hand.
        endings = [ending.event for ending in blueprint.process.endings if ending.event]
        final = {blueprint.wire_name(event) for event in endings}

        async def judge() -> None:
            found = [
                (service, letter)
                for service, letter in await self._letters()
                if letter.record.message.type not in final
            ]
            if found:
                service, letter = found[which % len(found)]
                await self.world.verdicts.discard_dead_letters(
                    self.world.pool(service),
                    letter.consumer,
                    [letter.record.message.id],
                    who="test",
                    why="hopeless",
                )
                self.discarded = True

        self._run(judge())

    @invariant()
    def books_add_up(self) -> None:
        """Kind A, in every database that was written to."""
        self._run(self._check())

    def teardown(self) -> None:
        """Kind Q: heal, come to rest in time, and everything is as the customers were told."""
        try:
            if sys.exc_info()[0] is None and hasattr(self.world, "lives"):
                self._run(self._end())
        finally:
            self._run(self.world.end())

    async def _check(self) -> None:
        repeated = self.world.doubts.repeated
        assert not repeated, f"called again without asking what became of it: {repeated}"
        for service, life in self.world.lives.items():
            seen = (life.number, life.process.commits)
            if self._checked.get(service) != seen:
                self._checked[service] = seen
                own = ["payment", "provider"] if service == "payment" else [service]
                await self.world.auditor.assert_always(own)

    async def _end(self) -> None:
        self._heal()
        self.world.poison.clear()
        self.world.poison_next.clear()
        await self.world.settle()
        for service, letter in await self._letters():
            await self.world.verdicts.redrive_dead_letters(
                self.world.pool(service),
                letter.consumer,
                [letter.record.message.id],
                who="test",
                why="drain",
                inbox_retention_seconds=DAYS_30,
            )
        await self._come_to_rest()
        await self.world.auditor.assert_at_rest()
        rows = await self.world.databases.fetch("order", "SELECT id, status FROM app.orders")
        statuses = {str(row["id"]): row["status"] for row in rows}
        process = self.world.blueprint.process
        ended = {ending.status for ending in process.endings}
        may_fail_later = process.lifecycle[process.confirmed.status]
        for wish in self.wishes:
            if wish.order_id:
                status = statuses[uuid_of(wish.order_id)]
                if not process.late_cancel:
                    # Who comes now comes too late, or asks for what is so already.
                    self._heard_of_cancel(wish, await self._ask_to_cancel(wish))
                assert status in ended
                assert status in process.failures or not wish.cancelled
                confirmed = status == process.confirmed.status
                assert confirmed or may_fail_later or not wish.came_too_late

    async def _come_to_rest(self) -> None:
        loop = self.world.loop
        told = RETRY_SECONDS if self.world.blueprint.orders.notices is not None else 0.0
        promised = loop.elapsed + SECONDS_TO_REST + told
        # Nobody but the deadline asks again for what an operator gave up (M3).
        end = promised + (DEADLINE_SECONDS + SECONDS_TO_REST if self.discarded else 0)
        for _ in range(ROUNDS_MAX):
            moved = 0
            for service, life in self.world.lives.items():
                if life.gate.waits:  # who does not ask yet is not waited for: calls would time out
                    moved += await self.world.deliver(service, Grant())
                while life.calls.waiting:
                    await self.world.answer(service, 0, Fate.ANSWERED)
                    moved += 1
            await self._check()
            if moved:
                continue
            waits = await self.world.auditor.under_way()
            if not waits:
                return
            assert loop.elapsed < end, f"long after the last fault was healed: {waits}"
            in_time = loop.elapsed < promised
            await self.world.advance(JUMP_SECONDS if in_time else SECONDS_TO_REST)
        raise AssertionError(f"messages still move after {ROUNDS_MAX} rounds")

    def _heal(self) -> None:
        for life in self.world.lives.values():
            life.process.fault = None
            life.process.down = False

    async def _letters(self) -> list[tuple[str, Any]]:
        return [
            (service, info.letter)
            for service in self.world.plans
            for info in await self.world.verdicts.list_dead_letters(self.world.pool(service))
        ]

    def _post(self, key: str, body: dict[str, Any]) -> httpx2.Response | None:
        headers = {"Idempotency-Key": key}
        answer: httpx2.Response | None = self._run(
            self.world.request("POST", self.customers.place_path, json=body, headers=headers)
        )
        return answer

    def _heard(self, wish: Wish, answer: httpx2.Response | None) -> None:
        if answer is None or answer.status_code == 503:
            return
        if answer.status_code == 402:  # stored, and refused within the request
            wish.order_id = self.customers.order_id(answer)
            return
        if answer.status_code == 409:
            self._heard_a_refusal(wish, answer)
            return
        assert answer.status_code in {200, 201, 202}
        if wish.answer is not None:
            assert answer.content == wish.answer
        wish.answer = answer.content
        wish.order_id = self.customers.order_id(answer)

    def _heard_a_refusal(self, wish: Wish, answer: httpx2.Response) -> None:
        """Some documents name the first order to who asks again; some sell what is there only."""
        refuses_replays = self.world.blueprint.orders.contract.refuses_replays
        if refuses_replays and answer.json()["code"] == "idempotency_key_reused":
            named = self.customers.order_id(answer)
            assert wish.order_id in {None, named}
            wish.order_id = named
        else:
            assert answer.json()["code"] == "out_of_stock"
            assert wish.order_id is None
