"""`waybill bench --all-blueprints --log kafka`: one after another on the same brokers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.test_bench import check_outage
from tests.kafka.broker import running_broker

from waybill.blueprints.catalogue import BLUEPRINTS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


def test_all_blueprints_on_the_same_brokers(session_directory: Path, tmp_path: Path) -> None:
    """Some topics are several blueprints': each finds them empty, and its audit is clean."""
    with running_broker(session_directory / "compared-broker") as broker:
        shown = subprocess.run(
            [
                *(sys.executable, "-m", "waybill", "bench", "--all-blueprints", "--log", "kafka"),
                *("--rate", "20", "--seconds", "1", "--warm-up-seconds", "0"),
                *("--settle-seconds", "0", "--outage-seconds", "3", "--outage-rate", "20"),
                *("--out", str(tmp_path / "out")),
            ],
            env={
                **os.environ,
                "KAFKA_BROKERS": broker.bootstrap,
                "TMPDIR": str(tmp_path),
                "WAYBILL_PAYMENT_WAIT_SECONDS": "1",
            },
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    found = json.loads((tmp_path / "out" / "comparison.json").read_bytes())["blueprints"]
    assert list(found) == list(BLUEPRINTS)
    for name, results in found.items():
        assert results["topology"].endswith("on Kafka")
        assert results["audit"].startswith("audit: clean")
        check_outage(name, results["outage"], orders=60)
