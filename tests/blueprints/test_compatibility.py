"""A published schema of an event is never broken under its version: CI refuses the change."""

from __future__ import annotations

import json
import runpy
import shutil
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from waybill.blueprints.compatibility import breaks
from waybill.platform import descriptions
from waybill.platform.descriptions import SCHEMAS, broken, files

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PUBLISHED: dict[str, Any] = {
    "title": "StockReserved",
    "type": "object",
    "properties": {
        "orderId": {"type": "string", "format": "uuid"},
        "reason": {"enum": ["deadline", "other"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 1},
        "detail": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    },
    "required": ["orderId", "reason", "items"],
    "$defs": {
        "Line": {
            "type": "object",
            "properties": {"quantity": {"type": "integer", "minimum": 1}},
            "required": ["quantity"],
        }
    },
}


def changed(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What this change of the schema would break."""
    today = deepcopy(PUBLISHED)
    change(today)
    return breaks(PUBLISHED, today)


def line_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The part that the items refer to."""
    line: dict[str, Any] = schema["$defs"]["Line"]
    return line


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda s: s["properties"].update(colour={"type": "string"}),
        lambda s: line_of(s)["properties"].update(colour={"type": "string"}),
        lambda s: s.update(title="StockHeld", description="Other words"),
        lambda s: s.update(
            {"$defs": {"Row": line_of(s)}},
            properties={
                **s["properties"],
                "items": {"type": "array", "items": {"$ref": "#/$defs/Row"}, "minItems": 1},
            },
        ),
    ],
    ids=["nothing", "optional member", "optional member of a part", "texts", "name of a part"],
)
def test_what_nobody_notices_keeps_its_version(change: Callable[[dict[str, Any]], object]) -> None:
    """Optional members may be added; texts and the names of parts are nobody's business."""
    assert changed(change) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["properties"].pop("detail"), "/detail: the member is gone"),
        (lambda s: s["required"].remove("reason"), "/reason: the member became optional"),
        (lambda s: s["required"].append("detail"), "/detail: the member became required"),
        (
            lambda s: (s["properties"].update(a={}), s["required"].append("a")),
            "/a: the member became required",
        ),
        (lambda s: s["properties"]["reason"]["enum"].append("x"), "/reason/enum: ["),
        (lambda s: s["properties"]["orderId"].update(type="integer"), "/orderId/type: 'string'"),
        (lambda s: s["properties"]["orderId"].pop("format"), "/orderId: format is gone"),
        (lambda s: s["properties"]["orderId"].update(maxLength=3), "/orderId: maxLength is new"),
        (lambda s: s["properties"]["detail"]["anyOf"].pop(), "/detail"),
        (lambda s: line_of(s)["properties"]["quantity"].update(minimum=0), "/items/items/quantity"),
        (lambda s: line_of(s)["required"].clear(), "/items/items/quantity: the member became opt"),
    ],
)
def test_what_somebody_notices_needs_a_new_version(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    """Each with its place: members gone, optional or required, types, bounds, values."""
    (found, *_) = changed(change)
    assert told in found


def test_no_published_schema_is_broken() -> None:
    """The gate: the committed schemas against those of this code."""
    assert broken(ROOT, files()) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The published schemas, as another release has them."""
    shutil.copytree(ROOT / SCHEMAS, tmp_path / SCHEMAS)
    return tmp_path


def spoil(file: Path) -> None:
    """As if it had been published with one more member."""
    schema = json.loads(file.read_text())
    schema["properties"]["once"] = {"type": "string"}
    file.write_text(json.dumps(schema))


def test_a_change_that_breaks_a_published_schema_is_not_written(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that writes the descriptions refuses, so the committed file cannot follow."""
    file = elsewhere / SCHEMAS / "choreography/OrderCreated.v1.json"
    spoil(file)
    before = file.read_text()
    script = runpy.run_path(str(ROOT / "scripts/describe_blueprints.py"))
    monkeypatch.setitem(script["main"].__globals__, "ROOT", elsewhere)
    assert script["main"]() == 1
    assert "OrderCreated.v1.json: /once: the member is gone" in capsys.readouterr().err
    assert file.read_text() == before
    assert not (elsewhere / descriptions.PAGES).exists()


def test_an_older_version_stays_and_an_event_does_not_vanish(elsewhere: Path) -> None:
    """Version 1 is still in topics when 2 is written; an event that nobody writes is missed."""
    path = SCHEMAS / "choreography/OrderCreated.v1.json"
    described = files()
    text = described.pop(path)
    assert broken(elsewhere, described) == [
        f"{path}: nothing writes this event, or a newer version of it, any more"
    ]
    described[path.with_name("OrderCreated.v2.json")] = text
    assert broken(elsewhere, described) == []
