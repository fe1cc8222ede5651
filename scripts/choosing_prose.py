"""What docs/choosing.md says about its tables, said with the tables' own figures.

`retold` writes these sentences anew from the tables that stand in the page, so that no comparison
leaves a claim behind that its figures contradict. A sentence that they do not bear is refused.
"""

from __future__ import annotations

import re
from textwrap import fill
from typing import Final

BEGIN: Final = "<!-- sentences: written by scripts/choosing.py -->"
END: Final = "<!-- end of the sentences -->"
ENDED, ACCEPTED = "ended well a second", "accepted a second"
CPU: Final = "CPU of Python and PostgreSQL an order, ms"
GOOD_END: Final = "POST to the good end, p50 and p99, ms"
MESSAGES, COMMITS = "messages an order", "commits an order"
ROWS: Final = "rows inserted an order"
CALLING: Final = frozenset({"notify", "checkout"})
LEAST: Final = frozenset({"notify", "reservation"})
WIDTH: Final = 130
ON_KAFKA: Final = ", on Kafka"

_HEADLINE = re.compile(r"^\*\*(.+?)\*\* \(\d{4}-", re.MULTILINE)

Section = dict[str, dict[str, str]]
"""By a row's title, the blueprints' cells."""


def retold(page: str) -> str:
    """The page with sentences that fit its tables. Raises ValueError if they bear no such ones."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        message = f"the page has lost its marks: {BEGIN} and {END}"
        raise ValueError(message)
    outboxes, kafka = sections(before)
    told = "\n".join(
        fill(" ".join(each.split()), WIDTH, initial_indent="- ", subsequent_indent="  ")
        for each in _sentences(outboxes, kafka)
    )
    return f"{before}{BEGIN}\n\n{told}\n\n{END}{after}"


def sections(page: str) -> tuple[Section, Section]:
    """The tables on the outboxes, and those on Kafka."""
    _, *parts = _HEADLINE.split(page)
    found = {
        topology.endswith(ON_KAFKA): _cells(text)
        for topology, text in zip(parts[::2], parts[1::2], strict=True)
    }
    if len(found) != len({False, True}):
        message = "the page needs tables of both, the outboxes and Kafka"
        raise ValueError(message)
    return found[False], found[True]


def _cells(text: str) -> Section:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    names = rows[0][1:]
    return {title: dict(zip(names, cells, strict=True)) for title, *cells in rows}


def _number(cell: str) -> float:
    return float(cell.partition(" and ")[0].replace(",", ""))


def _sentences(outboxes: Section, kafka: Section) -> list[str]:
    both = (outboxes, kafka)
    for title, names, most in ((CPU, CALLING, True), (ROWS, LEAST, False)):
        if any(_foremost(section[title], len(names), most=most) != names for section in both):
            message = f"{title}: {', '.join(names)} are not the {'most' if most else 'fewest'}"
            raise ValueError(message)
    calls = {title: outboxes[title] for title in (ACCEPTED, ENDED)}
    lost = ", ".join(f"{name} {_lost(name, *both)}" for name in outboxes[ENDED])
    step, orchestrator = (
        _way(first, second, *both)
        for first, second in (("reservation", "choreography"), ("choreography", "orchestration"))
    )
    return [
        f"One more step by events, from reservation to choreography: {step}.",
        f"An orchestrator, from choreography to orchestration: {orchestrator}.",
        f"""What is called by HTTP costs the most CPU: notify's calls and checkout's charge are
        requests one by one, where events go in batches. Notify accepts {calls[ACCEPTED]["notify"]}
        a second and tells of {calls[ENDED]["notify"]}; it works the rest off later. Checkout's
        customers wait, so it accepts what it can pay, {calls[ACCEPTED]["checkout"]}.""",
        "The fewest rows are notify's and reservation's: there is the least to undo.",
        f"""On one machine, flat out, Kafka takes of what ends well a second: {lost}. Every message
        is written twice, and the broker wants its share of the cores.""",
    ]


def _way(first: str, second: str, outboxes: Section, kafka: Section) -> str:
    told = []
    for section in (outboxes, kafka):
        steps = [
            f"{_plain(section[title][first])} to {_plain(section[title][second])} {unit}"
            for title, unit in (
                (MESSAGES, "messages"),
                (COMMITS, "commits"),
                (GOOD_END, "ms to the good end (p50)"),
            )
        ]
        told.append(", ".join(steps))
    return "; on Kafka ".join(told)


def _plain(cell: str) -> str:
    return cell.partition(" and ")[0]


def _lost(name: str, outboxes: Section, kafka: Section) -> str:
    kept = _number(kafka[ENDED][name]) / _number(outboxes[ENDED][name])
    return f"{100 * (1 - kept):.0f} %"


def _foremost(cells: dict[str, str], count: int, *, most: bool) -> set[str]:
    ranked = sorted(cells, key=lambda name: _number(cells[name]), reverse=most)
    return set(ranked[:count])
