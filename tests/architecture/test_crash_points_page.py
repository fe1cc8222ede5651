"""docs/library/crash-points.md: its tests pass as they stand there, its list is the register."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from waybill.commerce import crash_points as of_commerce
from waybill.messaging.core.crash_points import registered

PAGE = Path(__file__).parents[2] / "docs/library/crash-points.md"
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| (.*) \|$", re.MULTILINE)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """What a reader copies into a file of their own runs."""
    file = tmp_path / "test_page.py"
    file.write_text("\n".join(SNIPPET.findall(PAGE.read_text())))
    options = ["-o", "asyncio_mode=auto", "--rootdir", str(tmp_path)]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "5 passed" in answer.stdout


def test_the_page_lists_every_point_of_messaging() -> None:
    """With the sentence that the code has for it."""
    ours = {n: p.sentence for n, p in registered().items() if n not in of_commerce.POINTS}
    assert dict(ROW.findall(PAGE.read_text())) == ours
