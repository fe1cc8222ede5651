"""What every LogWriter must do: runs arrive whole and in order, and errors say what arrived."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.errors import UnsendableError
from waybill.messaging.core.lanes import lane_of
from waybill.messaging.core.message import Record
from waybill.messaging.testing.contracts.outbox import a_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import LogWriter

SOURCE = "parcels"
KEY = "k"


class LogReader(Protocol):
    """Reads what a log has."""

    async def __call__(self, topic: str, count: int) -> Sequence[Message]:
        """The first messages of a topic, each key's in their order; waits until so many are there.

        Raises TimeoutError if they do not come.
        """


def records(messages: Sequence[Message], first_seq: int = 1) -> list[Record]:
    """As the outbox has them, in the lane of the first one's key."""
    lane = lane_of(messages[0].key)
    return [Record(SOURCE, lane, first_seq + n, m) for n, m in enumerate(messages)]


class LogWriterContract:
    """Fixtures to give: `writer`, `topic`, `other_topic`, `read_log`, `value_bytes_too_many`.

    The topics are of one test alone; `read_log` is a LogReader; the last is of one record's value.
    """

    async def test_a_run_arrives_in_order_and_is_acknowledged(
        self, writer: LogWriter, topic: str, read_log: LogReader
    ) -> None:
        """Protocol L2: acknowledged means that the log has it, in the order of the run."""
        sent = [a_message(KEY, topic=topic, value=b"%d" % n) for n in range(100)]
        written = await writer.write(records(sent))
        assert (written.acknowledged, written.error) == (100, None)
        assert [m.id for m in await read_log(topic, 100)] == [m.id for m in sent]

    async def test_a_record_keeps_all_that_a_consumer_needs(
        self, writer: LogWriter, topic: str, read_log: LogReader
    ) -> None:
        """Every field of the envelope that is on the wire, and every byte of the value."""
        sent = a_message(
            "ключ",
            topic=topic,
            value=b"\x00\xff raw",
            type="Sent",
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            correlation_id="conversation",
            causation_id=a_message().id,
            headers={"mine": b"\x01"},
        )
        await writer.write(records([sent]))
        (read,) = await read_log(topic, 1)
        for field in ("id", "topic", "type", "key", "value", "occurred_at", "traceparent"):
            assert getattr(read, field) == getattr(sent, field), field
        for field in ("correlation_id", "causation_id", "producer"):
            assert getattr(read, field) == getattr(sent, field), field
        assert read.headers["mine"] == b"\x01"

    async def test_runs_that_are_under_way_together_keep_their_order(
        self, writer: LogWriter, topic: str, read_log: LogReader
    ) -> None:
        """Protocol L2: the next run is written before the last one is acknowledged."""
        runs = [[a_message(KEY, topic=topic) for _ in range(7)] for _ in range(20)]
        tasks = [
            asyncio.create_task(writer.write(records(run, 1 + 7 * n))) for n, run in enumerate(runs)
        ]
        assert {(await task).acknowledged for task in tasks} == {7}
        expected = [message.id for run in runs for message in run]
        assert [m.id for m in await read_log(topic, 140)] == expected

    async def test_each_record_goes_to_its_own_topic(
        self, writer: LogWriter, topic: str, other_topic: str, read_log: LogReader
    ) -> None:
        """A lane carries every topic of its service."""
        sent = [a_message(KEY, topic=t) for t in (topic, other_topic, topic)]
        assert (await writer.write(records(sent))).error is None
        assert [m.id for m in await read_log(topic, 2)] == [sent[0].id, sent[2].id]
        assert [m.id for m in await read_log(other_topic, 1)] == [sent[1].id]

    async def test_a_record_that_can_never_be_sent_is_named(
        self,
        writer: LogWriter,
        topic: str,
        read_log: LogReader,
        value_bytes_too_many: int,
    ) -> None:
        """Protocol L4: what stands before it is in the log, and its place in the run is told."""
        sent = [a_message(KEY, topic=topic) for _ in range(5)]
        sent[3] = a_message(KEY, topic=topic, value=b"x" * value_bytes_too_many)
        written = await writer.write(records(sent))
        assert written.acknowledged == 3
        assert isinstance(written.error, UnsendableError)
        assert [m.id for m in await read_log(topic, 3)] == [m.id for m in sent[:3]]
        again = await writer.write(records(sent[4:], 5))
        assert (again.acknowledged, again.error) == (1, None)

    async def test_the_identity_of_the_log_stays(self, writer: LogWriter) -> None:
        """Protocol L1: a position means something in one log only."""
        first = await writer.identity()
        assert first
        assert await writer.identity() == first

    async def test_it_may_be_closed_twice_and_purged(self, writer: LogWriter, topic: str) -> None:
        """A purge ends what is under way, one way or the other; so does the end."""
        task = asyncio.create_task(writer.write(records([a_message(KEY, topic=topic)])))
        await asyncio.sleep(0)
        await writer.purge()
        written = await task
        assert written.acknowledged == 1 or written.error is not None
        await writer.close()
        await writer.close()
