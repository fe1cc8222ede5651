"""What customers saw while somebody outside was away, as figures and as rows of a table. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from waybill.operations.bench.figures import Latency, Sample, latency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from waybill.operations.history import Entry, History

NOT_CONNECTED, NO_ANSWER = "not connected", "no answer"


class Answered(msgspec.Struct, frozen=True, rename="camel"):
    """One kind of answer to POST: a status, or that there was none."""

    answer: str
    latency: Latency
    """From the intended send to the answer's end."""


class Outage(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One outage. Only a clean audit makes one."""

    target: str
    """Who was away."""
    rate: float
    """Orders per second that were asked for meanwhile."""
    seconds: float
    """For how long it was away."""
    began_seconds: float
    """Since the run began."""
    answers: tuple[Answered, ...]
    """The first ones to each order of the outage, in the order of their names."""
    accepted: int
    good_when_back: int
    """Of the accepted: at their good end in the moment before it came back."""
    shown_when_back: dict[str, int]
    """What GET of a sample of them showed then, by status."""
    failed_calls: int
    """Calls to it that failed meanwhile."""
    ended_seconds: float
    """From its coming back until every order had ended."""
    settled_seconds: float
    """The same until nothing was under way, and nothing waited for another try."""
    confirmed: int
    cancelled: int
    audit: str = ""
    samples: tuple[Sample, ...] = ()


class FirstAnswers:
    """A history that also keeps the first answer to each order; repeats are answered alike."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._keys: set[str | None] = set()
        self._seconds: dict[str, list[float]] = {}

    def write(self, entry: Entry) -> None:
        """See History."""
        self._history.write(entry)
        if entry.operation != "place" or entry.key in self._keys:
            return
        self._keys.add(entry.key)
        answer = NOT_CONNECTED if entry.outcome == "fail" else NO_ANSWER
        if entry.status is not None:
            answer = str(entry.status)
        self._seconds.setdefault(answer, []).append(entry.seconds)

    def answered(self) -> tuple[Answered, ...]:
        """All of them so far."""
        kinds = sorted(self._seconds.items())
        return tuple(Answered(each, latency(found)) for each, found in kinds)


def shares(counts: Mapping[str, int]) -> str:
    """For people: each with its share, the most frequent first."""
    every = sum(counts.values())
    frequent = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{what} {_percent(count, every)}" for what, count in frequent) or "-"


def _percent(count: int, every: int) -> str:
    """Never 0 % of something, nor 100 % of less than all."""
    if count in {0, every}:
        return "100 %" if count else "0 %"
    return f"{min(max(100 * count / every, 0.1), 99.9):.1f} %"


def _counts(answers: Iterable[Answered]) -> dict[str, int]:
    return {each.answer: each.latency.samples for each in answers}


def _waited(outage: Outage) -> str:
    """Percentiles of each kind of answer; its name where there are several."""
    told = []
    for each in outage.answers:
        found = each.latency
        values = (found.p50, found.p90, found.p99, found.max)
        name = f"{each.answer}: " if len(outage.answers) > 1 else ""
        told.append(name + " / ".join(f"{value:.0f}" for value in values))
    return "<br>".join(told)


def _good(outage: Outage) -> str:
    if not outage.accepted:
        return "-"
    share = _percent(outage.good_when_back, outage.accepted)
    return f"{outage.good_when_back} of {outage.accepted} ({share})"


ROWS: Final[Sequence[tuple[str, Callable[[Outage], str]]]] = (
    ("who is away", lambda o: o.target),
    ("seconds, orders a second", lambda o: f"{o.seconds:.1f}, {o.rate:g}"),
    ("POST is answered", lambda o: shares(_counts(o.answers))),
    ("POST, ms: p50 / p90 / p99 / max", _waited),
    ("GET shows, before it is back", lambda o: shares(o.shown_when_back)),
    ("at their good end by then", _good),
    ("calls to it that failed", lambda o: str(o.failed_calls)),
    ("**seconds from its return until orders ended**", lambda o: f"**{o.ended_seconds:.1f}**"),
    ("**until all is settled**", lambda o: f"**{o.settled_seconds:.1f}**"),
    ("ended well, not", lambda o: f"{o.confirmed}, {o.cancelled}"),
)


def rows(outages: Sequence[Outage]) -> list[str]:
    """Lines of a Markdown table, a column an outage."""
    return [f"| {title} | {' | '.join(show(each) for each in outages)} |" for title, show in ROWS]
