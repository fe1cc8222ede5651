"""One lane of an outbox on its way to a log: what was read, what is acknowledged, what is held.

The lane's position may move over a contiguous run of acknowledged or held records, never further.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import UnsendableError
from waybill.messaging.core.relay import HeldState, ToHold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Written

RECORD_BYTES = 500
"""Of a record beside its value: envelope and headers, as they are counted against the bound."""


class Run:
    """Records of one lane that are written together; `through` is the position behind them."""

    __slots__ = ("records", "size", "through", "written")

    def __init__(self, records: Sequence[Record], through: int) -> None:
        self.records = records
        self.through = through
        self.size = sum([len(r.message.value) for r in records]) + RECORD_BYTES * len(records)
        self.written: Written | None = None


class Lane:
    """A lane from the moment that it is owned until it is not. Never used again after `gone`."""

    def __init__(self, number: int, position: int, held_keys: set[str]) -> None:
        self.number = number
        self.stored = position
        """The position as it stands in the database."""
        self.acked = position
        """Everything up to here is in the log, or held."""
        self.fetched = position
        self.runs: deque[Run] = deque()
        """Being written, oldest first."""
        self.held_keys = held_keys
        self.held: list[ToHold] = []
        """Goes to the held records together with the position that passes them."""
        self.stops = False
        """A run has failed, maybe behind others that are under way: nothing more is begun."""
        self.failure: Exception | None = None
        """Of the first run that failed, once all before it have ended."""
        self.refused: Record | None = None
        """The record that the log takes never."""
        self.failures = 0
        self.look_at = 0.0
        self.leaving = False
        """Another member is to have it: nothing new is sent."""
        self.releasing = False
        """Held records are being sent: everything else waits."""
        self.gone = False

    def is_readable(self, now: float) -> bool:
        """Whether more of it may be sent."""
        waits = self.leaving or self.releasing or self.stops
        return not waits and self.look_at <= now

    @property
    def is_quiet(self) -> bool:
        """Nothing of it is under way, and the database knows all that is to know."""
        return not self.runs and not self.held and self.acked == self.stored

    def accept(self, records: Sequence[Record]) -> Run:
        """Take what follows on what was read; the run has what is to be written now (L4)."""
        self.fetched = records[-1].seq
        if self.held_keys:
            keys = self.held_keys
            self._hold_behind(r for r in records if r.message.key in keys)
            records = [r for r in records if r.message.key not in keys]
        run = Run(records, self.fetched)
        self.runs.append(run)
        return run

    def _hold_behind(self, records: Iterable[Record]) -> None:
        self.held += [
            ToHold(self.number, r.seq, HeldState.BEHIND, "an earlier record of its key is held")
            for r in records
        ]

    def settle(self, ended: Run, written: Written) -> int:
        """Move over the runs that are done, up to the first error; how many records that were."""
        ended.written = written
        self.stops = self.stops or written.error is not None
        done = 0
        while self.runs and self.failure is None:
            run = self.runs[0]
            if run.written is None:
                break
            if run.written.error is None:
                self.runs.popleft()
                self.acked = run.through
                self.failures = 0
                done += len(run.records)
                continue
            reached = run.written.acknowledged
            done += reached
            self._reach(run, reached)
            self.failure = run.written.error
            if isinstance(self.failure, UnsendableError) and reached < len(run.records):
                self.refused = run.records[reached]
        return done

    def _reach(self, run: Run, reached: int) -> None:
        """Move over so many records of a run, and over what is held among them or right behind.

        Whoever passes the record that comes next, for good, passes those too.
        """
        if reached == len(run.records):
            self.acked = run.through
            return
        failed = run.records[reached].seq
        sent = [each.seq for each in run.records[:reached]]
        held = [each.seq for each in self.held if each.seq < failed]
        self.acked = max([self.acked, *sent, *held])

    @property
    def has_stopped(self) -> bool:
        """An error has ended it, and nothing of it is under way any more."""
        return self.failure is not None and all(run.written is not None for run in self.runs)

    def restart(self) -> None:
        """Forget what was read beyond the acknowledged; it is read again (L2)."""
        self.runs.clear()
        self.fetched = self.acked
        self.held = [each for each in self.held if each.seq <= self.acked]
        self.failure = self.refused = None
        self.stops = False

    def hold(self, record: Record, reason: str) -> None:
        """Pass over a record that the log takes never: it and all of its key wait (L4)."""
        self.held_keys.add(record.message.key)
        self.held.append(ToHold(self.number, record.seq, HeldState.HELD, reason))
        self.acked = self.fetched = record.seq

    def take_held(self, position: int) -> list[ToHold]:
        """What is held up to a position."""
        return [each for each in self.held if each.seq <= position]

    def moved(self, position: int) -> None:
        """The database has the position, and what is held up to it."""
        self.stored = position
        if self.held:
            self.held = [each for each in self.held if each.seq > position]
