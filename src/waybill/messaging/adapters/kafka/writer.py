"""The writing end of Kafka: records in lane order, acknowledged by every in-sync replica.

Protocol L2 and L4: the producer is idempotent, no record ever expires, and none goes past one
that failed. A producer that broke is thrown away; what it had not reported is read again by the
relay, and consumers remove the duplicates.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from waybill.messaging.adapters.kafka.errors import (
    error_of,
    in_thread,
    outage,
    sending_error,
    served,
)
from waybill.messaging.adapters.kafka.firsts import Firsts
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.adapters.kafka.one_by_one import OneByOne
from waybill.messaging.adapters.kafka.producer import (
    client_log,
    dispose,
    producer_properties,
)
from waybill.messaging.adapters.kafka.runs import BatchRefusedError, Run
from waybill.messaging.core.errors import TransientError
from waybill.messaging.core.ports import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message as KafkaMessage

    from waybill.messaging.adapters.kafka.firsts import Place
    from waybill.messaging.adapters.kafka.settings import KafkaSettings
    from waybill.messaging.core.message import Record

POLL_SECONDS_MIN = 0.001
POLL_SECONDS_MAX = 0.05
IDLE_POLL_SECONDS = 1.0
"""With nothing in flight there are only log lines to serve."""
LAST_REPORTS_SECONDS = 0.01

logger = logging.getLogger(__name__)


class KafkaLogWriter:
    """See core.ports.LogWriter. For one event loop, which also serves the delivery reports.

    A thread of its own would fight the loop for the interpreter at every report.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Producer | None = None
        self._firsts = Firsts(settings.partitions)
        self._runs: dict[Run, None] = {}
        """Those under way, in the order of their calls."""
        self._broken: Counter[tuple[str, int]] = Counter()
        """Lanes with a run that failed and has not returned: what comes behind fails as well."""
        self._order = asyncio.Lock()
        self._one_by_one = OneByOne(settings)
        self._in_flight = 0
        self._room = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._poll_seconds = POLL_SECONDS_MIN
        self._is_closed = False

    async def identity(self) -> str:
        """See LogWriter: the id that the cluster gave itself."""
        producer, seconds = self._open(), self._settings.request_timeout_seconds
        found = await in_thread(partial(producer.cluster_id, seconds))
        if not found:
            raise TransientError("Kafka did not tell its cluster id in time")
        return f"kafka:{found}"

    async def write(self, records: Sequence[Record]) -> Written:
        """See LogWriter.write. Records of other lanes overtake freely; keys keep their order."""
        if not records:
            return Written(0)
        run = Run(records, self._failed)
        self._runs[run] = None
        try:
            async with self._order:
                await self._send(run)
            await run.done.wait()
            if await self._is_left_behind(run):
                await self._one_by_one.send(run)
            return Written(run.from_start(), run.error)
        except Exception as error:
            run.fail(run.from_start(), error)
            raise
        finally:
            self._ended(run)

    async def purge(self) -> None:
        """See LogWriter.purge."""
        dropped = TransientError("what was not sent yet has been dropped")
        for run in self._runs:
            if not run.has_begun:
                run.cut(dropped)
            elif isinstance(run.error, BatchRefusedError):
                run.fail(run.from_start(), dropped)
        self._room.set()
        self._one_by_one.purge()
        if self._producer is not None:
            self._producer.purge(in_queue=True, in_flight=False)
            self._poll()

    async def close(self) -> None:
        """See LogWriter.close."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._one_by_one.purge()
        await self._one_by_one.close()
        producer = self._drop(TransientError("the writer was closed"))
        if producer is not None:
            await asyncio.to_thread(dispose, producer)

    async def _send(self, run: Run) -> None:
        """Hand all of it to the producer; what it refuses at once ends the run."""
        await self._admit(run)
        run.has_begun = True
        if self._broken[run.lane]:
            run.cut(TransientError("a record before these was not written"))
            return
        for index in range(len(run.records)):
            error = await self._produce(run, index)
            if error is not None and run.error is None:
                run.fail(index, error)
            if run.error is not None:
                break
        if not run.in_flight:
            run.done.set()

    async def _produce(self, run: Run, index: int) -> Exception | None:
        message = run.records[index].message
        key = message.key.encode() or None
        while run.error is None:
            firsts = self._firsts
            place = firsts.place(message.topic, key)
            if place is not None and firsts.wait(place):
                await self._some_reports()
                continue
            reported = partial(run.reported, index)
            if place is not None:
                reported = partial(self._first_reported, firsts, place, reported)
            try:
                self._open().produce(
                    message.topic,
                    message.value,
                    key,
                    headers=to_headers(message),
                    on_delivery=reported,
                )
            except BufferError:
                # More bytes are in flight than settings allow: wait for reports.
                await self._some_reports()
            except KafkaException as error:
                found = error_of(error)
                if found is None:
                    return TransientError(str(error))
                if found.code() == KafkaError._FATAL:  # noqa: SLF001 - the library's name
                    self._poll()
                    return outage(found)
                return sending_error(found, message.topic)
            else:
                if place is not None:
                    firsts.begin(place)
                run.sent += 1
                run.in_flight += 1
                self._in_flight += 1
                self._expect_reports()
                return None
        return run.error

    def _first_reported(
        self,
        firsts: Firsts,
        place: Place,
        reported: Callable[[KafkaError | None, KafkaMessage], None],
        error: KafkaError | None,
        message: KafkaMessage,
    ) -> None:
        firsts.end(place, is_written=error is None and message.offset() is not None)
        reported(error, message)

    async def _some_reports(self) -> None:
        """As often as it is looked for them anyway: rarely while the broker is away."""
        self._poll()
        await asyncio.sleep(min(self._poll_seconds, POLL_SECONDS_MAX))

    def _failed(self, run: Run) -> None:
        """Later runs of the lane end with it: they may have been written or not."""
        self._broken[run.lane] += 1

    def _ended(self, run: Run) -> None:
        if run.has_failed:
            self._broken[run.lane] -= 1
        if run.error is not None:
            self._end_behind(run, TransientError(str(run.error)))
        del self._runs[run]
        self._in_flight -= run.sent
        self._room.set()

    def _end_behind(self, run: Run, error: TransientError) -> None:
        runs = list(self._runs)
        for later in runs[runs.index(run) + 1 :]:
            waits = later.error is None or isinstance(later.error, BatchRefusedError)
            if later.lane == run.lane and waits:
                later.fail(later.from_start(), error)

    async def _is_left_behind(self, run: Run) -> bool:
        """Whether it has to be sent one by one, once nothing before it in its lane is any more."""
        while isinstance(run.error, BatchRefusedError):
            first = next(each for each in self._runs if each.lane == run.lane)
            if first is run:
                return True
            self._room.clear()
            await self._room.wait()
        return False

    async def _admit(self, run: Run) -> None:
        """Wait for room: memory is bounded while the broker is away."""
        most = self._settings.in_flight_records_max - len(run.records)
        while self._in_flight and self._in_flight > most and not run.done.is_set():
            self._room.clear()
            await self._room.wait()

    def _open(self) -> Producer:
        if self._is_closed:
            raise TransientError("the writer is closed")
        if self._producer is None:
            properties = producer_properties(self._settings, gapless=True)
            self._producer = Producer(properties, logger=client_log)
            self._poll_soon()
        return self._producer

    def _expect_reports(self) -> None:
        """Something is on its way: the pace of an idle writer would cost it a second."""
        if self._poll_seconds > POLL_SECONDS_MIN and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._poll_seconds = POLL_SECONDS_MIN
        self._poll_soon()

    def _poll_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._poll_seconds, self._pump)

    def _pump(self) -> None:
        """Serve the reports that are there, and come again: rarely if none come."""
        self._timer = None
        reports = self._poll()
        if self._producer is None or self._is_closed:
            return
        if reports:
            self._poll_seconds = POLL_SECONDS_MIN
        elif len(self._producer):
            self._poll_seconds = min(self._poll_seconds * 1.5, POLL_SECONDS_MAX)
        else:
            self._poll_seconds = IDLE_POLL_SECONDS
        self._poll_soon()

    def _poll(self) -> int:
        if self._producer is None:
            return 0
        reports, error = served(partial(self._producer.poll, 0))
        if error is not None:
            self._fatal(error)
        return reports

    def _fatal(self, error: KafkaError) -> None:
        """The producer is of no use any more: end its runs with what is known of them (L2)."""
        logger.warning("the producer is replaced: %s", error.str())
        if error.code() == KafkaError._GAPLESS_GUARANTEE:  # noqa: SLF001 - the library's name
            producer = self._drop(BatchRefusedError(error.str()))
        else:
            producer = self._drop(outage(error))
        if producer is not None:
            asyncio.get_running_loop().run_in_executor(None, dispose, producer)

    def _drop(self, reason: Exception) -> Producer | None:
        producer, self._producer = self._producer, None
        self._firsts = Firsts(self._settings.partitions)
        if producer is not None:
            producer.purge()
            served(partial(producer.poll, LAST_REPORTS_SECONDS))
        for run in list(self._runs):
            if run.has_begun:
                run.cut(reason)
        return producer
