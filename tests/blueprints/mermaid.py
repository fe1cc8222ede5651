"""As much of Mermaid's grammar as our diagrams use: what it does not have is told, line by line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = r"[A-Za-z][\w-]*"
_TEXT = r"[^\[\](){}|;#]+"


def problems_of(diagram: str) -> list[str]:
    """Every line that cannot be drawn, and what is left open; empty: it can be."""
    kind, *lines = [line.strip() for line in diagram.splitlines()]
    read = _KINDS.get(kind)
    return [f"no such diagram: {kind}"] if read is None else read(lines)


def _flowchart(lines: list[str]) -> list[str]:
    nodes: set[str] = set()
    problems = []
    for line in lines:
        if made := re.fullmatch(rf"({_NAME})(\[{_TEXT}\]|\(\[{_TEXT}\]\))", line):
            nodes.add(made[1])
        elif arrow := re.fullmatch(rf"({_NAME}) -->\|({_TEXT})\| ({_NAME})", line):
            problems += [
                f"{end} is no node: {line}" for end in arrow.group(1, 3) if end not in nodes
            ]
        else:
            problems.append(line)
    return [*problems, *(f"{name} is a word of Mermaid's" for name in nodes & {"end", "graph"})]


def _sequence(lines: list[str]) -> list[str]:
    speakers: set[str] = set()
    problems = []
    blocks: list[str] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "participant" and re.fullmatch(_NAME, rest):
            speakers.add(rest)
        elif word in {"alt", "opt"} and rest:
            blocks.append(word)
        elif word == "else" and rest and blocks[-1:] == ["alt"]:
            pass
        elif line == "end" and blocks:
            blocks.pop()
        elif found := re.fullmatch(
            rf"({_NAME})->>({_NAME}): [^;#]+|Note over ({_NAME}): [^;#]+", line
        ):
            strangers = {each for each in found.groups() if each} - speakers
            problems += [f"{each} is no participant: {line}" for each in sorted(strangers)]
        else:
            problems.append(line)
    return [*problems, *(f"{word} is never ended" for word in blocks)]


def _states(lines: list[str]) -> list[str]:
    ends: set[str] = set()
    begins: set[str] = set()
    problems = []
    for line in lines:
        edge = re.fullmatch(rf"(\[\*\]|{_NAME}) --> (\[\*\]|{_NAME})", line)
        if edge is None:
            problems.append(line)
        else:
            begins.add(edge[1])
            ends.add(edge[2])
    return [*problems, *(f"{each} never ends" for each in sorted(ends - begins - {"[*]"}))]


_KINDS: dict[str, Callable[[list[str]], list[str]]] = {
    "flowchart LR": _flowchart,
    "sequenceDiagram": _sequence,
    "stateDiagram-v2": _states,
}
