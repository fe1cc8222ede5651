"""CPU time and memory of processes, from /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_UTIME, _CUTIME, _PPID = 11, 13, 1
"""Places in /proc/[pid]/stat behind the program's name (proc_pid_stat(5))."""
_MEMORY = re.compile(r"^(RssAnon|RssShmem|VmRSS):\s+(\d+) kB", re.MULTILINE)


class Usage(NamedTuple):
    """CPU time since the processes began, memory now."""

    cpu_seconds: float
    memory_bytes: int


def python_usage(pids: Iterable[int]) -> Usage:
    """Processes that share nothing worth mentioning: their resident memory is added up."""
    cpu = memory = 0
    for pid in pids:
        if (times := _times(pid)) is not None:
            cpu += times.own
            memory += _memory(pid).get("VmRSS", 0)
    return Usage(cpu / TICKS_PER_SECOND, memory)


def postgres_usage(pids: Iterable[int]) -> Usage:
    """A server and its backends, those that have ended too: their parent has their time.

    Memory is what each has for itself, and once the largest part of the shared buffers that one
    of them has touched.
    """
    family = {pid: times for pid in pids if (times := _times(pid)) is not None}
    cpu = sum(times.own for times in family.values())
    cpu += sum(times.ended for times in family.values() if times.parent not in family)
    memory = [_memory(pid) for pid in family]
    own = sum(found.get("RssAnon", 0) for found in memory)
    shared = max((found.get("RssShmem", 0) for found in memory), default=0)
    return Usage(cpu / TICKS_PER_SECOND, own + shared)


class _Times(NamedTuple):
    parent: int
    own: int
    ended: int
    """Of its children that ended, and theirs."""


def _times(pid: int) -> _Times | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended meanwhile
        return None
    fields = text[text.rindex(")") + 2 :].split()
    own, ended = (int(fields[at]) + int(fields[at + 1]) for at in (_UTIME, _CUTIME))
    return _Times(int(fields[_PPID]), own, ended)


def _memory(pid: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {name: int(kilobytes) * 1024 for name, kilobytes in _MEMORY.findall(text)}
