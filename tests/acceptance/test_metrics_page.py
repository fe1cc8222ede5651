"""docs/observability.md names what a running platform exposes, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.processes import OFFSETS
from tests.observability.files import ROOT

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from tests.acceptance.processes import PlatformProcess

PAGE = ROOT / "docs" / "observability.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+)[^|]*\|[^|]*\| [^|]+ \|$", re.MULTILINE)
PROCESS = re.compile(r"`((?:process|python)_\w+)`")


WITH_MORE = re.compile(r"^With (?:Kafka|a cache|an audit) .*?(?=^###)", re.MULTILINE | re.DOTALL)


def documented() -> dict[str, str]:
    """The kind of each metric that the tables name, those of Kafka, a cache, an audit left out."""
    return dict(ROW.findall(WITH_MORE.sub("", PAGE.read_text())))


@pytest.mark.acceptance
def test_the_page_and_the_registry_agree(shared_platform: PlatformProcess) -> None:
    """Every metric that is exposed is explained by its name and kind, every other name is gone."""
    shared_platform.ended(shared_platform.place(str(new_id())).json()["id"])
    exposed: dict[str, str] = {}
    for offset in OFFSETS.values():
        text = shared_platform.client.get(f"{shared_platform.url(offset)}/metrics").text
        for family in text_string_to_metric_families(text):
            suffix = "_total" if family.type == "counter" else ""
            exposed[family.name + suffix] = family.type
    _, _, last = PAGE.read_text().partition("Of a process, not of a service")
    standard = set(PROCESS.findall(last))
    assert standard <= exposed.keys()
    explained = {name: kind for name, kind in exposed.items() if name not in standard}
    assert explained == documented()
