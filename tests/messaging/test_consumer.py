"""The consumer's rules, each by its number: effects once, in order, whatever fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.messaging.ledger import (
    CODEC,
    CONSUMER,
    TOPIC,
    Added,
    Closed,
    Ledger,
    World,
    amount_of,
    apply,
    broken,
    keys_of_one_lane,
)

from waybill.messaging.adapters.memory import MemoryDeadLetters, MemoryTransaction
from waybill.messaging.adapters.memory.dead_letters import Verdict
from waybill.messaging.core.errors import (
    ConcurrencyConflictError,
    ConfigurationError,
    DeadLetterLimitExceededError,
    DomainConstraintError,
    OutcomeUnknownError,
    PermanentError,
    TransientError,
)
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.runtime.consumer import Consumer, ConsumerState
from waybill.messaging.runtime.policy import ConsumerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import DeadLetter, Transaction
    from waybill.messaging.core.unit import Received, UnitOfWork

LANE = 0


class Outage:
    """A database fault that lasts until it is ended."""

    def __init__(self, point: str, error: Exception) -> None:
        self.point = point
        self.error = error
        self.on = True
        self.hits = 0

    def __call__(self, point: str) -> None:
        if self.on and point == self.point:
            self.hits += 1
            raise type(self.error)(*self.error.args)


class UnitsRefused:
    """COMMIT fails for every unit in which the handler ran, and for no other, until it is ended."""

    def __init__(self, world: World) -> None:
        self._batches = world.ledger.batches
        self.on = True
        self.hits = 0

    def __call__(self, point: str) -> None:
        if self.on and point == "commit" and len(self._batches) > self.hits:
            self.hits = len(self._batches)
            raise TransientError("no space left")


async def test_effects_inbox_positions_and_messages_commit_together() -> None:
    """C3: one batch is one transaction, and whatever it wrote is there or none of it."""
    world = World()
    messages = world.amounts(count=20)
    commits = []
    world.fault = lambda point: commits.append(point) if point == "commit" else None
    await world.consume(messages)
    assert world.ledger.batches == [list(range(1, 21))]
    assert world.effects == {message.id: 1 for message in messages}
    assert [copy.causation_id for copy in world.copies] == [message.id for message in messages]
    assert set(world.database.tables["inbox"]) == {(CONSUMER, m.id) for m in messages}


async def test_a_rolled_back_unit_leaves_nothing() -> None:
    """C3: when COMMIT fails there is neither effect nor inbox row, position or message."""
    world = World()
    await world.feed(world.amounts(count=5))
    world.fault = outage = UnitsRefused(world)
    async with world.running(world.consumer):
        await world.clock.until(lambda: outage.hits > 3)
        assert world.effects == {}
        assert "inbox" not in world.database.tables
        assert world.stored_position(CONSUMER, LANE) == 0
        assert world.copies == []
        outage.on = False
        await world.clock.until(lambda: len(world.effects) == 5)


async def test_c1_repeats_inside_a_batch_are_removed_before_the_claim() -> None:
    """C1: a re-sent run of ids is decided once, though both copies are in one batch."""
    world = World()
    messages = world.amounts(count=3)
    await world.consume([*messages, *messages])
    assert world.ledger.batches == [[1, 2, 3]]
    assert set(world.effects.values()) == {1}


async def test_p3_a_repeat_in_a_later_batch_changes_nothing() -> None:
    """C1, P3: the inbox removes what was applied by an earlier transaction."""
    world = World()
    messages = world.amounts(count=3)
    await world.consume(messages)
    world.consumer = world.new_consumer()
    await world.consume([*messages, *world.amounts(count=1)])
    assert world.ledger.batches == [[1, 2, 3], [1]]
    assert world.observer.counts[CONSUMER, "duplicate"] == 3


async def test_c2_c3_the_reader_row_is_locked_before_anything_is_loaded() -> None:
    """C3: a member that lost its lease is told before it claims, decides or writes."""
    world = World()
    await world.feed(world.amounts(count=1))
    async with world.running(world.consumer):
        await world.clock.until(lambda: bool(world.effects))
        world.ledger.batches.clear()
        row = world.database.tables["consumer_source"][CONSUMER, "source"]
        stolen = msgspec.structs.replace(row, lease_token=world.ports.new_id())
        world.database.tables["consumer_source"][CONSUMER, "source"] = stolen
        await world.feed(world.amounts(count=1))
        await world.clock.advance(3.0)
        assert world.ledger.batches == []
        assert world.consumer.state is ConsumerState.STANDBY
        assert world.consumer.progress_age_seconds == 0.0
        await world.clock.advance(11.0)
        assert world.ledger.batches == [[1]]


async def test_c3_the_reader_row_is_held_while_a_batch_is_decided() -> None:
    """C3: reader row before inbox before everything else, in every unit."""
    held = []

    async def look(unit: UnitOfWork, received: Sequence[Received]) -> None:
        memory = unit.transaction
        assert isinstance(memory, MemoryTransaction)
        held.append([table for table, _ in memory.database.locks])
        for each in received:
            await apply(unit, each)

    world = World(handler=look)
    await world.consume(world.amounts(count=2))
    assert held == [["consumer_source", "inbox", "inbox"]]


async def test_d2_positions_of_skipped_messages_go_with_the_next_unit() -> None:
    """D2: a unit stores all that was passed over before it, in any lane."""
    world = World(ConsumerPolicy(positions_seconds=0))
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        await world.feed([world.message(Closed("a"), key=keys_of_one_lane(1)[0])])
        await world.clock.settle()
        assert world.stored_position(CONSUMER, LANE) == 0
        await world.feed([world.message(Added("a", 1), key="a")])
        await world.clock.settle()
        assert lane_of("a") != LANE
        assert world.stored_position(CONSUMER, LANE) == 1


async def test_c4_poison_is_isolated_left_to_right() -> None:
    """C4: neighbours are applied once, in order, and only the poison becomes a dead letter."""
    world = World()
    messages = world.amounts(["", "", "", "raises", "", "", ""])
    await world.consume(messages)
    poison = messages[3].id
    assert world.effects == {m.id: 1 for m in messages if m.id != poison}
    assert world.letters == [(poison, Verdict.OPEN)]
    assert [copy.causation_id for copy in world.copies] == [
        message.id for message in messages if message.id != poison
    ]


async def test_c4_poison_leaves_no_inbox_row() -> None:
    """C4: else its redrive would be swallowed."""
    world = World()
    messages = world.amounts(["", "raises"])
    await world.consume(messages)
    assert set(world.database.tables["inbox"]) == {(CONSUMER, messages[0].id)}


async def test_c4_positions_never_pass_what_is_not_done() -> None:
    """C4: whenever a part commits, the stored position has everything left of it applied."""
    world = World()
    messages = world.amounts(["", "", "raises", "", "raises", ""])
    await world.feed(messages)
    seen: list[tuple[int, int]] = []

    def look(point: str) -> None:
        if point == "begin":
            seen.append(
                (world.stored_position(CONSUMER, LANE), len(world.effects) + len(world.letters))
            )

    world.fault = look
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(messages))
    assert all(position <= done for position, done in seen)
    assert len({position for position, _ in seen}) > 2


async def test_c4_neighbours_are_decided_again_from_loaded_state() -> None:
    """C4: a balance that a failed attempt had folded in memory is not folded twice."""
    world = World()
    messages = [
        world.message(Added("joint", amount, note), key="joint")
        for amount, note in [(1, ""), (10, ""), (100, "raises"), (1000, "")]
    ]
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.effects) == 3)
    assert world.balances == {"joint": 1011}


async def test_c4_one_poison_costs_its_batch_a_handful_of_units() -> None:
    """C4: the rest behind the poison goes in one transaction, with its dead letter."""
    world = World()
    messages = world.amounts([*[""] * 40, "raises", *[""] * 59])
    await world.consume(messages)
    assert len(world.effects) == 99
    assert len(world.ledger.batches) <= 2 + 7 + 1


@pytest.mark.parametrize("place", [0, 1, 40, 99])
async def test_c4_a_row_that_the_database_shows_is_hardly_searched_for(place: int) -> None:
    """C4, C6: what is left of it, it alone and once more, the rest; its word is no verdict."""
    world = World()
    notes = [""] * 100
    notes[place] = "shown"
    messages = world.amounts(notes)
    await world.consume(messages)
    assert set(world.effects) == {m.id for n, m in enumerate(messages) if n != place}
    assert len(world.ledger.batches) <= 5
    assert [1 for batch in world.ledger.batches if batch == [place + 1]] == [1, 1]


async def test_c4_several_rows_that_are_shown_are_hardly_searched_for() -> None:
    """C4, C10: the survey and the search behind the first poison cut at what is shown, too."""
    world = World()
    notes = ["shown" if n in {10, 60, 150} else "" for n in range(200)]
    messages = world.amounts(notes)
    await world.consume(messages)
    assert set(world.effects) == {m.id for m, note in zip(messages, notes, strict=True) if not note}
    assert len(world.ledger.batches) <= 30


async def test_c4_a_key_of_many_messages_is_no_hint() -> None:
    """C4: the error shows the key of every message; the search goes on by halves."""
    world = World()
    messages = world.amounts([*[""] * 99, "constraint"], key="one")
    world.ledger.mood = lambda received: _show(messages[0].key, received)
    await world.consume(messages)
    assert set(world.effects) == {message.id for message in messages[:-1]}
    assert len(world.ledger.batches) <= 2 + 7 + 1


def _show(key: str, received: Sequence[Received]) -> None:
    if any(isinstance(one.event, Added) and one.event.note for one in received):
        raise DomainConstraintError("refused", detail=f"Key (account)=({key}) is taken.")


@pytest.mark.parametrize("poison", [{0}, {9}, {0, 9}, {3, 4}, {1, 5, 8}, set(range(0, 10, 2))])
async def test_c4_any_pattern_of_poison_is_separated(poison: set[int]) -> None:
    """C4: wherever the poison stands, all others are applied once and in order."""
    world = World(ConsumerPolicy(same_error_count_min=11))
    messages = world.amounts(["raises" if n in poison else "" for n in range(10)])
    await world.consume(messages)
    good = [message.id for number, message in enumerate(messages) if number not in poison]
    assert world.effects == dict.fromkeys(good, 1)
    assert [copy.causation_id for copy in world.copies] == good
    assert {letter for letter, _ in world.letters} == {messages[n].id for n in poison}


async def test_c4_named_poison_is_not_searched_for() -> None:
    """C4: a PermanentError that names its messages costs one repetition, however many it names."""
    world = World()

    def refuse(received: Sequence[Received]) -> None:
        bad = [each.message.id for each in received if each.message.id in poison]
        if bad:
            raise PermanentError("no such account", message_ids=bad)

    messages = world.amounts(count=50)
    poison = {messages[7].id, messages[30].id}
    world.ledger.mood = refuse
    await world.consume(messages)
    assert len(world.ledger.batches) == 2
    assert {letter for letter, _ in world.letters} == poison
    assert len(world.effects) == 48


async def test_c4_a_message_that_passes_alone_is_no_poison() -> None:
    """C4: what failed only because of its neighbours is applied, not dead-lettered."""
    world = World()

    def only_small_batches(received: Sequence[Received]) -> None:
        if len(received) > 2:
            raise ValueError("too many at once")

    world.ledger.mood = only_small_batches
    messages = world.amounts(count=9)
    await world.consume(messages)
    assert len(world.effects) == 9
    assert world.letters == []


async def test_c5_dead_letter_and_its_record_are_in_the_batchs_transaction() -> None:
    """C5: the row keeps the message whole, and the `.DLT` record leaves through the outbox."""
    world = World()
    messages = world.amounts(["raises"])
    await world.consume(messages)
    (row,) = world.dead_letters.rows
    assert row.letter.record.message == messages[0]
    assert (row.letter.record.source, row.letter.record.lane) == ("source", LANE)
    assert row.letter.error_type == "ValueError"
    assert "raises" in row.letter.stacktrace
    (record,) = world.outbox.messages
    assert (record.topic, record.value) == (f"{TOPIC}.DLT", messages[0].value)


async def test_c5_a_replay_applies_neither_open_nor_discarded_letters() -> None:
    """C5: what an operator discarded stays so when the topic is read again."""
    world = World()
    messages = world.amounts(["raises", "raises"])
    await world.consume(messages)
    await world.dead_letters.give_verdict(CONSUMER, [messages[0].id], Verdict.DISCARDED)
    world.consumer = world.new_consumer()
    repaired = [
        msgspec.structs.replace(message, value=CODEC.encode(Added("a", 1), message))
        for message in messages
    ]
    await world.consume(repaired)
    assert world.effects == {}


@pytest.mark.parametrize("point", ["begin", "commit"])
async def test_c6_an_outage_costs_time_and_never_an_attempt(point: str) -> None:
    """C6, B35: a database that is away for minutes sends nothing to the dead letters."""
    world = World()
    messages = world.amounts(count=10)
    outage = Outage(point, TransientError("connection refused"))
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        world.fault = outage
        await world.feed(messages)
        await world.clock.advance(300.0)
        assert outage.hits > 30
        assert world.consumer.state is ConsumerState.RETRYING
        assert world.consumer.progress_age_seconds > 200
        outage.on = False
        await world.clock.until(lambda: len(world.effects) == 10, within_seconds=11.0)
    assert world.letters == []
    assert set(world.effects.values()) == {1}


async def test_c6_a_transient_error_of_the_handler_rolls_back_the_whole_unit() -> None:
    """C6: half a batch is never committed because the other half met an outage."""
    world = World()
    tries = []

    def busy(received: Sequence[Received]) -> None:
        tries.append(len(received))
        if len(tries) < 4:
            raise TransientError("deadlock detected")

    world.ledger.mood = busy
    await world.consume(world.amounts(count=6))
    assert tries == [6, 6, 6, 6]
    assert world.observer.counts[CONSUMER, "retried", "TransientError"] == 3


async def test_c6_backoff_is_jittered_and_capped() -> None:
    """C6, L5: retries go on for ever and never wait longer than ten seconds."""
    world = World()
    outage = Outage("commit", TransientError("down"))
    await world.feed(world.amounts(count=1))
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        world.fault = outage
        await world.clock.advance(120.0)
        before = outage.hits
        await world.clock.advance(100.0)
        assert 10 <= outage.hits - before <= 30
        outage.on = False


async def test_c6_a_constraint_counts_only_when_it_refuses_a_message_alone_twice() -> None:
    """C6: a constraint that a neighbour's row broke for a moment makes no dead letter."""
    world = World()
    alone = 0

    def once(received: Sequence[Received]) -> None:
        nonlocal alone
        if any(each.message.id == messages[1].id for each in received):
            alone += len(received) == 1
            if len(received) > 1 or alone == 1:
                raise DomainConstraintError("balance_not_negative")

    world.ledger.mood = once
    messages = world.amounts(count=3)
    await world.consume(messages)
    assert len(world.effects) == 3
    assert world.letters == []


async def test_c6_a_constraint_that_always_refuses_makes_a_dead_letter() -> None:
    """C6: alone, twice, and then no more."""
    world = World()
    messages = world.amounts(["", "constraint", ""])
    await world.consume(messages)
    assert world.letters == [(messages[1].id, Verdict.OPEN)]
    assert len(world.effects) == 2
    assert world.ledger.batches.count([2]) == 2


async def test_c6_a_conflict_is_decided_again_at_once() -> None:
    """C6: state that moved between load and save is loaded again, a few times without a pause."""
    world = World()
    tries = []

    def conflict(received: Sequence[Received]) -> None:
        tries.append(len(received))
        if len(tries) in {1, 2}:
            raise ConcurrencyConflictError("version 3, expected 2")

    world.ledger.mood = conflict
    before = world.clock.monotonic()
    await world.feed(world.amounts(count=2))
    async with world.running(world.consumer):
        await world.clock.settle()
        assert world.clock.monotonic() == before
        assert len(world.effects) == 2
    assert tries == [2, 2, 2]


async def test_a_commit_whose_answer_is_lost_is_not_applied_twice() -> None:
    """C1, C6: after an unknown outcome the batch is read again and the inbox removes it."""
    world = World()
    lost = Outage("committed", OutcomeUnknownError("connection reset"))
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        messages = world.amounts(count=4)

        def lose(point: str) -> None:
            if world.effects and lost.hits == 0:
                lost(point)

        world.fault = lose
        await world.feed(messages)
        await world.clock.until(lambda: lost.hits == 1)
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        late = world.amounts(count=1)
        await world.feed(late)
        await world.clock.until(lambda: world.done(late))
    assert world.effects == {message.id: 1 for message in [*messages, *late]}
    assert world.observer.counts[CONSUMER, "retried", "OutcomeUnknownError"] == 1


async def test_c7_undecodable_is_a_dead_letter_at_once() -> None:
    """C7, C9: bytes of a subscribed type that are no such event never reach a handler."""
    world = World()
    good = world.amounts(count=3)
    messages = [good[0], broken(good[1]), good[2]]
    await world.consume(messages)
    assert world.ledger.batches == [[1, 3]]
    assert world.letters == [(good[1].id, Verdict.OPEN)]
    assert world.observer.counts[CONSUMER, "retried", "TransientError"] == 0


@pytest.mark.parametrize("version", [1, 3])
async def test_c7_a_version_that_cannot_be_read_is_a_dead_letter(version: int) -> None:
    """C7: a newer version, or an upcast with a bug, is kept and the messages behind it go on."""
    world = World()
    good = world.amounts(count=2)
    await world.consume([msgspec.structs.replace(good[0], version=version), good[1]])
    assert world.letters == [(good[0].id, Verdict.OPEN)]
    assert world.effects == {good[1].id: 1}


async def test_c7_a_pure_decision_is_not_retried() -> None:
    """C7: what a pure decision raised it would raise again: one attempt alone, no pause."""
    world = World()
    messages = world.amounts(["raises"])
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.settle()
        assert world.clock.monotonic() == 0.0
        assert world.letters == [(messages[0].id, Verdict.OPEN)]
    assert world.ledger.batches == [[1]]


async def test_c10_a_conflict_during_the_survey_is_no_crash() -> None:
    """C10: what is tried before a second dead letter may meet a concurrent change, too."""
    world = World()
    met: set[tuple[int, ...]] = set()

    def conflict(received: Sequence[Received]) -> None:
        amounts = tuple(amount_of(each) for each in received)
        if amounts not in met:
            met.add(amounts)
            raise ConcurrencyConflictError("the row has a new version")

    world.ledger.mood = conflict
    messages = world.amounts(["", "raises", "", "raises", ""])
    await world.consume(messages)
    assert {id_ for id_, _ in world.letters} == {messages[1].id, messages[3].id}
    assert set(world.effects) == {messages[0].id, messages[2].id, messages[4].id}
    assert set(world.effects.values()) == {1}


async def test_c11_a_consumer_is_its_id_whatever_its_handler_is_called() -> None:
    """C11: a renamed class goes on where the old one was, and replays nothing."""
    world = World()
    await world.consume(world.amounts(count=2))

    class Renamed(Ledger):
        """The handler after a refactoring."""

    world.handler = renamed = Renamed()
    world.consumer = world.new_consumer()
    messages = world.amounts(count=1)
    await world.consume(messages)
    assert renamed.batches == [[1]]
    assert set(world.effects.values()) == {1}


async def test_c8_the_key_of_a_dead_letter_goes_on() -> None:
    """C8: later messages of its key are applied."""
    world = World()
    messages = world.amounts(["", "raises", ""], key="k")
    await world.consume(messages)
    assert world.effects == {messages[0].id: 1, messages[2].id: 1}


async def test_c9_types_that_nobody_subscribed_to_are_skipped_and_counted() -> None:
    """C9: without decoding them, so their bytes do not matter; the position passes them."""
    world = World()
    foreign = world.message(Closed("a"), key=keys_of_one_lane(1)[0])
    messages = [foreign, broken(foreign), *world.amounts(count=1)]
    await world.consume(messages)
    assert world.observer.counts[CONSUMER, "skipped"] == 2
    assert world.ledger.batches == [[1]]
    assert world.letters == []


async def test_c9_a_handled_type_must_be_known_to_the_codec() -> None:
    """C9: a consumer of a type that no codec knows refuses to be made."""
    world = World()
    with pytest.raises(ConfigurationError, match="World is not registered"):
        Consumer(
            "other",
            log=world.log,
            topics=[TOPIC],
            types=[World],
            handler=world.ledger,
            ports=world.ports,
        )


async def test_d2_with_nothing_to_decide_positions_are_stored_once_a_second() -> None:
    """D2: a quiet consumer keeps up with a busy topic of others at one small write a second."""
    world = World()
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
        stored = set()
        for _ in range(40):
            await world.feed([world.message(Closed("a"), key=keys_of_one_lane(1)[0])])
            await world.clock.advance(0.1)
            stored.add(world.stored_position(CONSUMER, LANE))
        assert 3 <= len(stored) <= 6
        await world.clock.advance(2.0)
        assert world.stored_position(CONSUMER, LANE) == 40


async def test_d3_positions_are_acknowledged_after_the_commit() -> None:
    """D3: what the source is told is never ahead of what is stored."""
    world = World()
    messages = world.amounts(count=3)
    await world.consume(messages)
    assert world.source.reported[CONSUMER][LANE][0] == world.stored_position(CONSUMER, LANE) == 3


async def test_d3_what_rolls_back_is_never_acknowledged() -> None:
    """D3: while COMMIT fails the source hears of no position, so it keeps what must come again."""
    world = World()
    await world.feed(world.amounts(count=3))
    world.fault = outage = UnitsRefused(world)
    async with world.running(world.consumer):
        await world.clock.until(lambda: outage.hits > 3)
        assert CONSUMER not in world.source.reported
        outage.on = False
        await world.clock.until(lambda: CONSUMER in world.source.reported)


async def test_c10_the_limit_of_dead_letters_stops_the_consumer_over_restarts() -> None:
    """C10: beyond the limit it stops, and stops again after a restart, until the window is over."""
    world = World(ConsumerPolicy(dead_letters_max=2, dead_letters_window_seconds=60))
    messages = world.amounts(["raises", "raises", ""])
    await world.consume(messages)
    more = world.amounts(["", "raises"])
    await world.feed(more)
    for _ in range(2):
        world.consumer = world.new_consumer()
        task = asyncio.create_task(world.consumer.run())
        await world.clock.until(task.done)
        with pytest.raises(DeadLetterLimitExceededError, match="2 dead letters"):
            await task
        assert world.consumer.state is ConsumerState.HALTED
        assert len(world.letters) == 2
    await world.clock.advance(61.0)
    world.consumer = world.new_consumer()
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(more))
    assert len(world.letters) == 3


async def test_c10_a_bad_deployment_pauses_before_any_dead_letter() -> None:
    """C10: when most of a batch fails the same way, no message becomes a dead letter."""
    world = World()
    bug = True

    def fail(received: Sequence[Received]) -> None:
        if bug and any(each.message.id not in spared for each in received):
            raise KeyError("currency")

    world.ledger.mood = fail
    messages = world.amounts(count=40)
    spared = {messages[0].id, messages[17].id}
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.PAUSED)
        await world.clock.advance(120.0)
        assert world.letters == []
        assert set(world.effects) == {messages[0].id}
        assert world.observer.counts[CONSUMER, "retried", "SameErrorError"] > 5
        bug = False
        await world.clock.until(lambda: world.done(messages), within_seconds=11.0)
    assert len(world.effects) == 40
    assert world.letters == []


async def test_c10_undecodable_messages_of_a_bad_producer_pause_as_well() -> None:
    """C10: a batch of garbage is a deployment, too."""
    world = World()
    messages = [broken(message) for message in world.amounts(count=30)]
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.consumer.state is ConsumerState.PAUSED)
        assert world.letters == []


async def test_c10_a_smaller_share_is_dead_lettered() -> None:
    """C10: a third of a batch that fails the same way is poison, not a deployment."""
    world = World()
    messages = world.amounts(["raises" if n % 3 == 0 else "" for n in range(30)])
    await world.consume(messages)
    assert len(world.letters) == 10
    assert len(world.effects) == 20


async def test_redriven_letters_are_applied_with_their_verdict() -> None:
    """C4, C5: after the fix a redrive applies the message once and says so, in one transaction."""
    world = World()
    bug = True

    def fail(received: Sequence[Received]) -> None:
        if bug and any(each.message.id == messages[1].id for each in received):
            raise ValueError("a bug")

    world.ledger.mood = fail
    messages = world.amounts(count=3)
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(messages))
        bug = False
        await world.clock.advance(5.0)
        assert messages[1].id not in world.effects
        await world.dead_letters.give_verdict(CONSUMER, [messages[1].id], Verdict.REDRIVE)
        await world.clock.until(lambda: messages[1].id in world.effects, within_seconds=2.5)
        await world.clock.advance(5.0)
    assert world.letters == [(messages[1].id, Verdict.REDRIVEN)]
    assert set(world.effects.values()) == {1}


async def test_a_redrive_that_fails_again_is_open_again() -> None:
    """C5: one bad letter among the redriven ones does not keep the others back."""
    world = World()
    bug = True

    def fail(received: Sequence[Received]) -> None:
        if bug and received:
            raise ValueError("a bug")

    world.ledger.mood = fail
    messages = [*world.amounts(["", "raises"]), broken(world.amounts(count=1)[0])]
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.letters) == 3)
        bug = False
        ids = [message.id for message in messages]
        await world.dead_letters.give_verdict(CONSUMER, ids, Verdict.REDRIVE)
        await world.clock.until(lambda: bool(world.effects))
        await world.clock.advance(5.0)
    assert dict(world.letters) == {
        ids[0]: Verdict.REDRIVEN,
        ids[1]: Verdict.OPEN,
        ids[2]: Verdict.OPEN,
    }


async def test_d1_a_stand_by_takes_over_and_repeats_nothing() -> None:
    """D1: when the active member stops, the second one goes on behind its positions."""
    world = World()
    second = world.new_consumer()
    first = world.amounts(count=3)
    async with world.running(second), world.running(world.consumer):
        await world.feed(first)
        await world.clock.until(lambda: world.done(first))
        states = {world.consumer.state, second.state}
        assert states == {ConsumerState.RUNNING, ConsumerState.STANDBY}
        (active,) = {world.consumer, second} - {
            member for member in (world.consumer, second) if member.state is ConsumerState.STANDBY
        }
        active.stop()
        late = world.amounts(count=2)
        await world.feed(late)
        await world.clock.until(lambda: world.done(late))
    assert set(world.effects.values()) == {1}
    assert len(world.effects) == 5


async def test_p11_stop_ends_a_waiting_consumer_at_once_and_frees_its_lease() -> None:
    """P11: no second is lost to a fetch that waits, and the next member need not wait either."""
    world = World()
    task = asyncio.create_task(world.consumer.run())
    await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
    world.consumer.stop()
    await world.clock.settle()
    assert task.done()
    assert task.exception() is None
    assert world.consumer.state is ConsumerState.STOPPED
    row = world.database.tables["consumer_source"][CONSUMER, "source"]
    assert row.lease_token is None


async def test_p11_stop_finishes_the_batch_in_hand() -> None:
    """P11: a unit that has begun commits as a whole before the consumer ends."""
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def slow(unit: UnitOfWork, received: Sequence[Received]) -> None:
        begun.set()
        await go_on.wait()
        for each in received:
            await apply(unit, each)

    world = World(handler=slow)
    await world.feed(world.amounts(count=3))
    task = asyncio.create_task(world.consumer.run())
    await world.clock.until(begun.is_set)
    world.consumer.stop()
    await world.clock.settle()
    assert not task.done()
    go_on.set()
    await world.clock.until(task.done)
    assert len(world.effects) == 3


async def test_p11_a_cancelled_consumer_leaves_no_half_unit() -> None:
    """P11: an end by force rolls the batch back, and the next start applies it once."""
    begun = asyncio.Event()

    async def stuck(unit: UnitOfWork, received: Sequence[Received]) -> None:
        for each in received:
            await apply(unit, each)
        begun.set()
        await asyncio.Event().wait()

    world = World(handler=stuck)
    messages = world.amounts(count=3)
    await world.feed(messages)
    task = asyncio.create_task(world.consumer.run())
    await world.clock.until(begun.is_set)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert world.effects == {}
    world.handler = world.ledger
    world.consumer = world.new_consumer()
    async with world.running(world.consumer):
        await world.clock.until(lambda: world.done(messages))
    assert set(world.effects.values()) == {1}


async def test_o7_a_handler_cannot_end_its_unit() -> None:
    """O7: an attempt to commit is the message's dead letter, not half an effect."""

    async def commits(unit: UnitOfWork, received: Sequence[Received]) -> None:
        for each in received:
            await apply(unit, each)
        unit.commit()

    world = World(handler=commits)
    messages = world.amounts(count=1)
    await world.consume(messages)
    assert world.effects == {}
    assert world.letters == [(messages[0].id, Verdict.OPEN)]


async def test_counts_are_reported_after_the_commit_only() -> None:
    """I50: an attempt that rolled back is counted nowhere."""
    world = World()
    failures = 3

    def fail(_received: Sequence[Received]) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise TransientError("not yet")

    world.ledger.mood = fail
    await world.consume(world.amounts(["", "", "raises"]))
    assert world.observer.counts[CONSUMER, "processed"] == 2
    assert world.observer.counts[CONSUMER, "failed"] == 1
    assert world.observer.counts[CONSUMER, TOPIC, "ValueError"] == 1


async def test_a_batch_never_exceeds_its_limit() -> None:
    """B23 and all: `batch_size_max` bounds every unit."""
    world = World(ConsumerPolicy(batch_size_max=7))
    await world.consume(world.amounts(count=30))
    assert [len(batch) for batch in world.ledger.batches] == [7, 7, 7, 7, 2]


async def test_lanes_keep_their_order_over_batches() -> None:
    """P4: amounts of one key are applied in the order in which they were published."""
    world = World(ConsumerPolicy(batch_size_max=5))
    messages = []
    for amount in range(1, 31):
        key = f"key-{amount % 4}"
        messages.append(world.message(Added(key, amount), key=key))
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.effects) == 30)
    for lane in {lane_of(message.key) for message in messages}:
        expected = [m.id for m in messages if lane_of(m.key) == lane]
        got = [copy.causation_id for copy in world.copies if lane_of(copy.key) == lane]
        assert got == expected


async def test_a_policy_that_makes_no_sense_is_refused() -> None:
    """A limit of zero is a ConfigurationError at start that names the setting."""
    with pytest.raises(ConfigurationError, match="batch_size_max"):
        ConsumerPolicy(batch_size_max=0)
    with pytest.raises(ConfigurationError, match="same_error_share_max"):
        ConsumerPolicy(same_error_share_max=1.5)


async def test_c6_a_conflict_that_does_not_end_waits_like_an_outage() -> None:
    """C6: after a few tries at once the unit backs off; it is never given up."""
    world = World()
    conflicts = 40

    def conflict(_received: Sequence[Received]) -> None:
        nonlocal conflicts
        conflicts -= 1
        if conflicts >= 0:
            raise ConcurrencyConflictError("version 3, expected 2")

    world.ledger.mood = conflict
    await world.consume(world.amounts(count=2))
    assert len(world.effects) == 2
    assert world.observer.counts[CONSUMER, "retried", "TransientError"] == 8


async def test_a_type_that_the_codec_cannot_write_is_the_messages_dead_letter() -> None:
    """C7: a ConfigurationError in the middle of a decision stops no consumer."""

    async def publishes(unit: UnitOfWork, received: Sequence[Received]) -> None:
        for each in received:
            unit.publish(object(), key="k", cause=each.message)

    world = World(handler=publishes)
    messages = world.amounts(count=1)
    await world.consume(messages)
    assert world.letters == [(messages[0].id, Verdict.OPEN)]
    (row,) = world.dead_letters.rows
    assert row.letter.error_type.endswith("ConfigurationError")


async def test_c6_an_outage_while_joining_costs_time() -> None:
    """C6: a database that is down when the consumer starts is waited for."""
    world = World()
    messages = world.amounts(count=1)
    await world.feed(messages)
    outage = Outage("begin", TransientError("connection refused"))
    world.fault = outage
    async with world.running(world.consumer):
        await world.clock.advance(60.0)
        assert outage.hits > 5
        outage.on = False
        await world.clock.until(lambda: world.done(messages), within_seconds=11.0)


async def test_p11_stop_does_not_wait_for_a_database_that_is_down() -> None:
    """P11: a lease that cannot be handed back expires."""
    world = World()
    task = asyncio.create_task(world.consumer.run())
    await world.clock.until(lambda: world.consumer.state is ConsumerState.RUNNING)
    world.fault = Outage("begin", TransientError("connection refused"))
    world.consumer.stop()
    await world.clock.settle()
    assert task.done()
    assert task.exception() is None


async def test_c9_a_redriven_letter_of_a_type_nobody_takes_any_more_is_open_again() -> None:
    """C5, C9: a verdict REDRIVEN always means that the message was applied."""
    world = World()
    messages = world.amounts(["raises"])
    await world.consume(messages)
    gone = Consumer(
        CONSUMER,
        log=world.log,
        topics=[TOPIC],
        types=[Closed],
        handler=world.ledger,
        ports=world.ports,
    )
    await world.dead_letters.give_verdict(CONSUMER, [messages[0].id], Verdict.REDRIVE)
    async with world.running(gone):
        await world.clock.until(lambda: world.letters == [(messages[0].id, Verdict.OPEN)])
    (row,) = world.dead_letters.rows
    assert "does not subscribe" in row.letter.error_message


async def test_letters_that_cannot_be_stored_are_no_messages_fault() -> None:
    """C6: the consumer keeps trying, loudly, and its position does not move."""

    class Refusing(MemoryDeadLetters):
        async def add(self, transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
            if refusing:
                raise PermanentError("a check constraint of dead_letters")
            await super().add(transaction, letters)

    world = World()
    refusing = True
    letters = Refusing(world.database, world.outbox, world.clock)
    world.ports = replace(world.ports, dead_letters=letters)
    world.consumer = world.new_consumer()
    messages = world.amounts(["", "raises", ""])
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.advance(30.0)
        assert world.consumer.state is ConsumerState.RETRYING
        assert world.stored_position(CONSUMER, LANE) <= 1
        refusing = False
        await world.clock.until(lambda: world.done(messages), within_seconds=11.0)
    assert len(world.effects) == 2


async def test_after_a_search_for_poison_batches_are_smaller() -> None:
    """What one message made the others be decided twice for is not soon repeated at that size."""
    world = World()
    await world.consume(world.amounts(["", "raises", *[""] * 198]))
    world.ledger.batches.clear()
    await world.feed(world.amounts(count=200))
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.effects) == 399)
    assert len(world.ledger.batches[0]) == 50
