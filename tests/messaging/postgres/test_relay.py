"""The relay over PostgreSQL and a log in memory: protocol L1 to L5."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.messaging.postgres.relay_world import FAST, SOURCE, RelayWorld, until

from waybill.messaging.adapters.memory import MemoryLogWriter
from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import ConfigurationError, TransientError
from waybill.messaging.core.lanes import ALL_LANES, lane_of
from waybill.messaging.core.message import Record
from waybill.messaging.core.outbox_limits import KEY_CHARS_MAX, MESSAGE_BYTES_MAX
from waybill.messaging.core.relay import HeldState, Verdict
from waybill.messaging.core.retry import Backoff
from waybill.messaging.runtime.relay_settings import RelaySettings
from waybill.messaging.testing.contracts.dead_letters import a_letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Written

TOO_LARGE = b"x" * 2_000


@pytest.fixture
def world(world: RelayWorld) -> RelayWorld:
    """Its log takes values of 1,000 bytes."""
    world.log.value_bytes_max = 1_000
    return world


def same_lane(key: str, count: int) -> list[str]:
    """Other keys of the key's lane."""
    lane = lane_of(key)
    keys = (f"{key}-{n}" for n in range(10_000))
    return [other for other in keys if lane_of(other) == lane][:count]


async def test_everything_arrives_once_and_in_order(world: RelayWorld) -> None:
    """R130: what was there before the relay and what comes while it runs, once if nothing fails."""
    await world.publish(*(f"k{n % 40}" for n in range(2_500)))
    await world.start()
    for n in range(50):
        await world.publish(*(f"k{(n + m) % 40}" for m in range(20)))
    await world.drained()
    world.assert_complete()
    assert len(world.arrived) == len(world.sent)


async def test_a_commit_of_the_process_is_sent_without_reading_it(world: RelayWorld) -> None:
    """ADR 0021: the doorbell hands the message over, whatever the poll interval."""
    relay = await world.start(replace(FAST, poll_seconds=1.0))
    await until(lambda: relay.owns_all)
    await world.publish("k")
    await until(lambda: len(world.arrived) == 1)
    async with asyncio.timeout(0.9):
        for n in range(20):
            await world.publish("k", "other")
            await until(lambda n=n: len(world.arrived) == 3 + 2 * n)  # type: ignore[misc]
    await world.drained()
    world.assert_complete()


async def test_a_commit_of_another_process_is_found_by_the_poll(world: RelayWorld) -> None:
    """Protocol D7: without any bell a row waits one poll at most."""
    relay = await world.start(hears=False)
    await until(lambda: relay.owns_all)
    await world.publish(*(f"k{n}" for n in range(100)))
    await world.drained()
    world.assert_complete()


async def test_l2_an_error_stops_its_lane_which_is_read_again(world: RelayWorld) -> None:
    """Protocol L2: what comes behind a failed record is not passed over, nor sent before it."""
    left = 3

    def fault(record: Record) -> None:
        nonlocal left
        if record.message.key == "bad" and left:
            left -= 1
            raise TransientError("the broker says no")

    world.log.fault = fault
    relay = await world.start()
    await world.publish("bad", *same_lane("bad", 5), "bad", "good", "bad")
    await world.drained()
    world.assert_complete()
    assert relay.figures.produce_errors == 3
    assert await world.held() == []


class FirstRunWaits(MemoryLogWriter):
    """The first run reaches the log when it is told so; `value_bytes_max` is the world's."""

    def __init__(self) -> None:
        super().__init__(value_bytes_max=1_000)
        self.began = asyncio.Event()
        self.decided = asyncio.Event()
        self.ended = 0
        """Runs that have their answer."""

    async def reach(self, point: str, _: str) -> None:
        """See crash_points.Hook: a second run has been chosen, and gets a task of its own next."""
        if point == "relay.before_write" and self.began.is_set():
            self.decided.set()

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter."""
        if not self.began.is_set():
            self.began.set()
            await self.decided.wait()
        written = await super().write(records)
        self.ended += 1
        return written


@pytest.mark.parametrize("is_for_good", [True, False])
async def test_l2_a_run_that_begins_as_the_one_before_it_fails_is_not_written(
    world: RelayWorld, monkeypatch: pytest.MonkeyPatch, *, is_for_good: bool
) -> None:
    """Protocol L2, L4: the relay chose it in time, its task begins too late."""
    failures = [TransientError("the broker says no")]

    def fault(record: Record) -> None:
        if record.message.id == first.id and failures and not is_for_good:
            raise failures.pop()

    world.log = writer = FirstRunWaits()
    writer.fault = fault
    monkeypatch.setattr(crash_points, "hook", writer.reach)
    relay = await world.start()
    await until(lambda: relay.owns_all)
    (first,) = await world.publish("k", value=TOO_LARGE if is_for_good else b"1")
    await writer.began.wait()
    (second,) = await world.publish("k")
    await world.drained()
    world.assert_complete(but_for=[first, second] if is_for_good else [])


async def test_l4_nothing_is_begun_behind_a_failed_run_while_one_before_it_is_under_way(
    world: RelayWorld,
) -> None:
    """Protocol L2, L4: a log refuses a record at once, and answers for an earlier one later."""
    world.log = writer = FirstRunWaits()
    relay = await world.start()
    await until(lambda: relay.owns_all)
    await world.publish("k")
    await writer.began.wait()
    held = await world.publish("k", value=TOO_LARGE)
    await until(lambda: writer.ended == 1)
    held += await world.publish("k")
    writer.decided.set()
    await world.drained()
    world.assert_complete(but_for=held)
    assert await world.held() == [("k", "HELD"), ("k", "BEHIND")]


async def test_l3_the_position_passes_acknowledged_records_only(world: RelayWorld) -> None:
    """Protocol L3: read and written is not acknowledged; the position waits for the report."""
    lane = lane_of("slow")
    world.log.stalled.add(lane)
    await world.start()
    await world.publish(*(f"k{n}" for n in range(50)), "slow", "slow")
    others = sum(lane_of(f"k{n}") != lane for n in range(50))
    await until(lambda: len(world.arrived) == others)

    async def stored() -> bool:
        return sum(position > 0 for position in await world.positions()) >= 15

    await until(stored)
    assert (await world.positions())[lane] == 0
    await world.log.open()
    await world.drained()
    assert max(await world.positions()) == 52


async def test_l3_what_is_under_way_is_bounded(world: RelayWorld) -> None:
    """A log that is away for long costs no memory: reading stops at the bound, and goes on."""
    await world.publish(*(f"k{n}" for n in range(1_000)))
    world.log.is_open = False
    relay = await world.start(replace(FAST, in_flight_records_max=100, page_records_max=30))
    await until(lambda: relay.figures.in_flight >= 100)
    await world.publish(*(f"k{n}" for n in range(100)))
    await asyncio.sleep(0.2)
    assert relay.figures.in_flight <= 130
    await world.log.open()
    await world.drained()
    world.assert_complete()


async def test_l3_positions_are_written_twenty_times_a_second_at_most(world: RelayWorld) -> None:
    """Protocol L3: a held snapshot keeps every version of a hot row."""
    relay = await world.start(replace(FAST, position_writes_per_second_max=20.0))
    await until(lambda: relay.owns_all)
    began = asyncio.get_running_loop().time()
    for _ in range(150):
        await world.publish("k")
    await world.drained()
    took = asyncio.get_running_loop().time() - began
    assert 1 <= relay.figures.position_writes <= 20 * took + 2


async def test_l3_instances_share_the_lanes_evenly(world: RelayWorld) -> None:
    """Protocol L3: 17, then 9 and 8, then 6, 6 and 5; and back when one goes."""
    first = await world.start()
    await until(lambda: first.owns_all)
    assert await world.owners() == [17]
    second = await world.start()

    async def have(*lanes: int) -> bool:
        return await world.owners() == list(lanes)

    await until(lambda: have(9, 8))
    third = await world.start()
    await until(lambda: have(6, 6, 5))
    await world.stop(second)
    await until(lambda: have(9, 8))
    await world.stop(third)
    await until(lambda: first.owns_all)


async def test_l3_lanes_change_hands_without_loss_or_disorder(world: RelayWorld) -> None:
    """Protocol L3: while instances come and go under load, each key keeps its order."""
    relays = [await world.start()]

    async def come_and_go() -> None:
        for _ in range(4):
            relays.append(await world.start())
            await asyncio.sleep(0.3)
            await world.stop(relays.pop(0))
            await asyncio.sleep(0.1)

    turns = asyncio.create_task(come_and_go())
    while not turns.done():
        await world.publish(*(f"k{n}" for n in range(30)))
    await turns
    await world.drained()
    world.assert_complete()


async def test_l3_a_member_that_was_taken_over_moves_nothing(world: RelayWorld) -> None:
    """Protocol L3: the token and the position guard the write, however late it comes."""
    relay = await world.start()
    await world.publish("k")
    await world.drained()
    store = world.store()
    token = relay._owned.token
    lane = lane_of("k")
    (seq,) = [p for p in await world.positions() if p]
    assert await store.advance(token, {lane: seq}, []) == set()
    await world.stop(relay)
    assert await store.advance(token, {lane: seq + 1}, []) == set()
    assert (await world.positions())[lane] == seq
    await store.close()


async def test_l3_on_loss_what_is_queued_is_purged(world: RelayWorld) -> None:
    """Protocol L3: a lease that is gone ends the runs that wait, and their lane begins anew."""
    world.log.is_open = False
    relay = await world.start()
    await world.publish("k", "k")
    await until(lambda: relay.figures.in_flight == 2)
    await world.rewind()
    await until(lambda: relay.figures.leases_lost == ALL_LANES)
    await world.log.open()
    await world.drained()
    world.assert_complete()


async def test_l4_a_record_that_can_never_be_sent_is_held_with_its_key(world: RelayWorld) -> None:
    """Protocol L4: it and all of its key wait, in the table; other keys of its lane go on."""
    await world.start()
    neighbour = same_lane("large", 1)[0]
    (first,) = await world.publish("large")
    held = await world.publish("large", value=TOO_LARGE)
    held += await world.publish("large")
    await world.publish(neighbour)
    await world.drained()
    held += await world.publish("large")
    await world.publish(neighbour)
    await world.drained()
    world.assert_complete(but_for=held)
    assert first.id in world.known
    assert await world.held() == [("large", "HELD"), ("large", "BEHIND"), ("large", "BEHIND")]
    (info, *_) = await world.held_infos()
    assert info.bytes == len(TOO_LARGE)
    assert "2000 bytes" in info.reason


async def test_l4_what_is_behind_one_refused_record_stays_held_when_another_is_refused(
    world: RelayWorld,
) -> None:
    """Protocol L4: between the last record that was sent and the refused one are held ones."""
    neighbour, other = same_lane("large", 2)
    held = await world.publish("large", value=TOO_LARGE)
    await world.publish(neighbour)
    held += await world.publish("large", "large")
    held += await world.publish(other, value=TOO_LARGE)
    await world.publish(neighbour)
    await world.start()
    await world.drained()
    world.assert_complete(but_for=held)
    states = [("large", "HELD"), ("large", "BEHIND"), ("large", "BEHIND"), (other, "HELD")]
    assert await world.held() == states


async def test_l4_a_new_owner_knows_what_is_held(world: RelayWorld) -> None:
    """Protocol L4: it loads the keys before it sends anything of the lane."""
    relay = await world.start()
    held = await world.publish("large", value=TOO_LARGE)
    await world.drained()
    await world.stop(relay)
    held += await world.publish("large", "large")
    await world.start()
    await world.drained()
    world.assert_complete(but_for=held)
    assert [state for _, state in await world.held()] == ["HELD", "BEHIND", "BEHIND"]


async def test_l4_resumed_records_go_in_order_and_the_key_flows_again(world: RelayWorld) -> None:
    """Protocol L4: the operator's word is a flag; the owner sends in the order of seq."""
    await world.start()
    (large,) = await world.publish("large", value=TOO_LARGE)
    await world.publish("large", "large")
    await world.drained()
    world.log.value_bytes_max = 5_000
    assert await world.judge(large, Verdict.RESUME) == {large.id}
    await until(lambda: len(world.known) == 3)
    await world.publish("large")
    await until(lambda: len(world.known) == 4)
    await world.drained()
    world.assert_complete()
    await world.released()


async def test_l4_the_longest_key_is_held_and_resumed_as_any_other(world: RelayWorld) -> None:
    """Protocol L4: no index has room for such a key; another one begins alike, and goes on.

    Its dead letter, too, is held with all that comes behind it.
    """
    await world.start()
    key = "".join(chr(0x10000 + n * 7919 % 0xC000) for n in range(KEY_CHARS_MAX))
    others = (f"{key[:-4]}{n:04}" for n in range(10_000))
    alike = next(other for other in others if lane_of(other) == lane_of(key))
    letters = world.engine.dead_letters(
        world.database, world.outbox, suffix=".DLT", message_bytes_max=MESSAGE_BYTES_MAX
    )
    (large,) = await world.publish(key, value=TOO_LARGE)
    behind, other = await world.publish(key, alike)
    letter = msgspec.structs.replace(a_letter(), record=Record(SOURCE, 0, 1, large))
    async with world.database.transaction() as transaction:
        await letters.add(transaction, [letter])
    await world.drained()
    assert [record.message.id for record in world.arrived] == [other.id]
    assert [state for _, state in await world.held()] == ["HELD", "BEHIND", "HELD"]
    world.log.value_bytes_max = 5_000
    infos = await world.held_infos()
    held = [each.id for each in infos if each.state == HeldState.HELD]
    await world.engine.judge_held(world.database, held, Verdict.RESUME, who="me", why="a test")
    await until(lambda: len(world.arrived) == 4)
    await world.released()
    found = [record.message.id for record in world.log.topics[large.topic]]
    assert found == [other.id, large.id, behind.id]
    (told,) = world.log.topics[f"{large.topic}.DLT"]
    assert told.message.causation_id == large.id
    assert told.message.key == key


async def test_l4_a_resumed_record_that_is_refused_again_waits_again(world: RelayWorld) -> None:
    """Protocol L4: nothing of the key passes it, and the verdict is used up."""
    await world.start()
    (large,) = await world.publish("large", value=TOO_LARGE)
    await world.publish("large")
    await world.drained()
    world.log.value_bytes_max = 1_500
    await world.judge(large, Verdict.RESUME)

    async def refused_again() -> bool:
        info = (await world.held_infos())[0]
        return "above 1500" in info.reason and info.verdict is None

    await until(refused_again)
    assert world.arrived == []
    assert [state for _, state in await world.held()] == ["HELD", "BEHIND"]


async def test_l4_a_skipped_record_is_kept_and_the_rest_follows(world: RelayWorld) -> None:
    """Protocol L4: skip lets one record go unsent, for good, and says who did it and why."""
    await world.start()
    (large,) = await world.publish("large", value=TOO_LARGE)
    await world.publish("large", "large")
    await world.drained()
    await world.judge(large, Verdict.SKIP, "a test")
    await until(lambda: len(world.known) == 2)
    await until(lambda: world_held_is(world, [("large", "SKIPPED")]))
    await world.publish("large")
    await world.drained()
    world.assert_complete(but_for=[large])
    (info,) = await world.held_infos(with_skipped=True)
    assert (info.verdict_by, info.verdict_reason) == ("me", "a test")


async def world_held_is(world: RelayWorld, expected: list[tuple[str, str]]) -> bool:
    """Whether that is what is held."""
    return await world.held() == expected


async def test_l4_one_that_waits_behind_another_cannot_be_resumed(world: RelayWorld) -> None:
    """Protocol L4: the operator is told which one to look at."""
    await world.start()
    await world.publish("large", value=TOO_LARGE)
    (behind,) = await world.publish("large")
    await world.drained()
    with pytest.raises(ConfigurationError, match="waits behind an earlier record"):
        await world.judge(behind, Verdict.RESUME)


async def test_l4_too_many_refused_records_are_an_outage(world: RelayWorld) -> None:
    """A log that was set up for small records must not empty the outbox into the held table."""
    relay = await world.start(replace(FAST, held_records_max=3))
    for n in range(3):
        await world.publish(f"k{n}", value=TOO_LARGE)
        await world.drained()
    await world.publish(*(f"k{n}" for n in range(3, 20)), value=TOO_LARGE)
    await until(lambda: relay.figures.produce_errors > 20)
    await until(lambda: world_held_is(world, [(f"k{n}", "HELD") for n in range(3)]))
    world.log.value_bytes_max = 5_000
    await world.drained()
    assert len(world.known) == 17


def test_l5_limits_that_would_break_the_rules_are_refused() -> None:
    """Protocol L3, L5, D7: no lease, poll or backoff is longer than the promises allow."""
    for wrong in (
        {"lease_seconds": 11.0},
        {"poll_seconds": 2.0},
        {"position_writes_per_second_max": 50.0},
        {"retry": Backoff(cap_seconds=30.0)},
    ):
        with pytest.raises(ConfigurationError):
            RelaySettings(**wrong)
