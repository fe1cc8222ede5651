"""Reads a Dockerfile and what .dockerignore lets through, as far as ours go."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Services: TypeAlias = dict[str, dict[str, Any]]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction and its arguments, continued lines joined."""
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", bare).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name.upper(), " ".join(rest.split())


def let_through(path: str, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore leaves this path (of the top, or below a folder) in the context."""
    kept = True
    for pattern in patterns:
        bare = pattern.lstrip("!")
        top = path.split("/", 1)[0]
        names = bare.removeprefix("**/")
        hit = (
            fnmatch(top, bare)
            if "/" not in bare
            else any(fnmatch(part, names) for part in path.split("/"))
        )
        if hit:
            kept = pattern.startswith("!")
    return kept
