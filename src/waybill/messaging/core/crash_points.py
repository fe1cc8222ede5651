"""Named points at which a process may die: before and after everything that must not be half done.

Off, a point costs one comparison. `waybill.messaging.testing.crash_points` sets `hook`; no setting
of a service does. A `before` point has an `after` point of the same act, which is where COMMIT is
answered for the commits. The second argument says whose act it is: a consumer's id, a kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Hook = Callable[[str, str], Awaitable[None]]

hook: Hook | None = None
"""Awaited with a point's name and whose it is, at every point that the process comes to."""


@dataclass(frozen=True)
class Point:
    """Where a point stands. `is_unknown`: an error there does not tell whether the act stands."""

    sentence: str
    is_unknown: bool = False


def unknown(sentence: str) -> Point:
    """A point behind an act that nothing takes back, and nothing proves if its answer is lost."""
    return Point(sentence, is_unknown=True)


_points = {
    "outbox.before_append": Point("The effects are written, their messages not yet."),
    "outbox.after_append": Point("The messages are written under their lanes' locks; COMMIT next."),
    "transaction.after_commit": unknown("COMMIT was answered, and nobody heard it yet."),
    "consumer.before_claim": Point("A batch was read; positions and inbox come first."),
    "consumer.after_claim": Point("Positions and inbox rows are written, effects not yet."),
    "consumer.before_commit": Point("A batch is decided and written; the unit ends next."),
    "consumer.after_commit": unknown("A batch is committed; its source does not know yet."),
    "consumer.before_acknowledge": Point("The source is about to be told about a batch."),
    "consumer.after_acknowledge": Point("The subscription took note of a batch."),
    "source.before_report": Point("The producer's database is about to hear the positions."),
    "source.after_report": Point("The producer's database has heard the positions."),
    "positions.before_commit": Point("Positions alone commit next; what they pass is done."),
    "positions.after_commit": unknown("Positions alone are committed; what they pass is done."),
    "redrive.before_commit": Point("A dead letter was applied again; the unit ends next."),
    "redrive.after_commit": unknown("A dead letter and its verdict are committed."),
    "owe.before_insert": Point("A handler owes an outside call; its row comes next."),
    "owe.after_insert": Point("The row of an outside call is written in the handler's unit."),
    "delivery.before_claim": Point("A deliverer is about to lease what is due."),
    "delivery.after_claim": Point("Deliveries are leased, and their calls not yet begun."),
    "delivery.before_call": Point("An outside call is about to be made."),
    "delivery.after_call": unknown("An outside call was answered; the answer is not stored."),
    "delivery.before_query": Point("The outside is about to be asked what became of a call."),
    "delivery.after_query": Point("The outside said what became of a call; it is not stored."),
    "settle.before_commit": Point("Outcomes of outside calls are written; the unit ends next."),
    "settle.after_commit": unknown("Outcomes of outside calls are committed."),
    "relay.before_write": Point("Records were read from the outbox; the log gets them next."),
    "relay.after_write": unknown("The log has records, and no position tells."),
    "relay.before_position": Point("Positions behind acknowledged records are stored next."),
    "relay.after_position": unknown("Positions are stored, with what is held on the way."),
    "relay.before_release": Point("Held records are about to be sent or let go."),
    "relay.after_release": unknown("Held records are sent or let go, and taken from the held."),
    "job.before_run": Point("Periodic work is leased and not begun."),
    "job.after_run": unknown("Periodic work is done, and its end not stored."),
    "job.before_finish": Point("The end of periodic work is about to be stored."),
    "job.after_finish": Point("The end of periodic work is stored."),
}


def register(points: Mapping[str, Point]) -> None:
    """Add points of one's own, so that a misspelt name can be told from one that is there."""
    _points.update(points)


def registered() -> Mapping[str, Point]:
    """Every point by its name, in the order in which they were registered."""
    return dict(_points)
