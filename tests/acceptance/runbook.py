"""Reads docs/runbook.md, and runs its commands as they stand there against a platform of a test."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from tests.acceptance import forked
from tests.observability.files import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.acceptance.processes import PlatformProcess

RUNBOOK = ROOT / "docs" / "runbook.md"
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"# exit status (\d)")
GREP = re.compile(r"\| grep -E '([^']+)'$")
ALTERNATIVE = re.compile(r"([^|()]*)(?:\(([^()]*)\)([^|()]*))?(?:\||$)")
FUNCTION = 'waybill() { {program} waybill "$@" --data {data} --port-base {base}; }\n'


def sections() -> dict[str, str]:
    """The text of each alert's section."""
    text = RUNBOOK.read_text().partition("\n## Alerts\n")[2].partition("\n## Upgrade\n")[0]
    return dict(SECTION.findall(text + "\n## "))


def commands(text: str) -> list[str]:
    """What stands behind the prompts of its console blocks."""
    return [
        line[2:]
        for block in BLOCK.findall(text)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def looked_for(line: str) -> Iterator[str]:
    """Each pattern that a `grep -E` at the line's end names: a line that has one is not enough."""
    found = GREP.search(line)
    for before, choice, after in ALTERNATIVE.findall(found[1]) if found else ():
        if before or choice:
            yield from (f"{before}{each}{after}" for each in choice.split("|"))


def complaint(platform: PlatformProcess, line: str, **variables: str) -> str:
    """What is wrong with a command: another status than it should have, or something not found."""
    shown = re.sub(
        r"localhost:808(\d)",
        lambda found: f"127.0.0.1:{platform.port_base + int(found[1])}",
        line,
    )
    program = [sys.executable, "-I", "-S", forked.__file__, forked.fork_server()]
    function = FUNCTION.replace("{program}", shlex.join(program))
    function = function.replace("{data}", shlex.quote(str(platform.data)))
    function = function.replace("{base}", str(platform.port_base))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", function + shown],
        env={**os.environ, **platform.environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    wanted = STATUS.search(line)
    if done.returncode != int(wanted[1] if wanted else 0):
        return f"{line}\n{done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"
    missing = [each for each in looked_for(line) if not re.search(each, done.stdout)]
    return f"{line}\nfinds no {missing}" if missing else ""


def complaints(platform: PlatformProcess, lines: Iterable[str]) -> list[str]:
    """Of each line that is wrong; two run at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [each for each in pool.map(partial(complaint, platform), lines) if each]
