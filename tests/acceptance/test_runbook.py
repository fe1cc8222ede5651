"""The runbook has a section for each alert, and its commands run on a running platform."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.acceptance import forked
from tests.observability.files import ROOT, alerts

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

RUNBOOK = ROOT / "docs" / "runbook.md"
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"# exit status (\d)")
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


def test_every_alert_has_its_section_and_no_section_lacks_an_alert() -> None:
    """Whoever is woken finds what it means, what to look at and what to do."""
    named = {alert.name: alert.runbook for alert in alerts()}
    assert sections().keys() == named.keys()
    for name, place in named.items():
        assert place == f"docs/runbook.md#{name.lower()}"
    assert [name for name, text in sections().items() if not commands(text)] == []


@pytest.mark.acceptance
def test_the_commands_of_every_alert_run(shared_platform: PlatformProcess) -> None:
    """Each ends with 0, or with the status that stands beside it."""
    shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])
    every = sorted({line for text in sections().values() for line in commands(text)})
    assert len(every) > 25

    def run(line: str) -> str:
        shown = re.sub(
            r"localhost:808(\d)",
            lambda found: f"127.0.0.1:{shared_platform.port_base + int(found[1])}",
            line,
        )
        program = [sys.executable, "-I", "-S", forked.__file__, forked.fork_server()]
        function = FUNCTION.replace("{program}", shlex.join(program))
        function = function.replace("{data}", shlex.quote(str(shared_platform.data)))
        function = function.replace("{base}", str(shared_platform.port_base))
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", function + shown],
            env={**os.environ, **shared_platform.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        wanted = STATUS.search(line)
        if done.returncode == int(wanted[1] if wanted else 0):
            return ""
        return f"{line}\n{done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"

    with ThreadPoolExecutor(2) as pool:
        assert [failed for failed in pool.map(run, every) if failed] == []
