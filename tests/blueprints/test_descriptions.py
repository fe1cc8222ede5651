"""What is said of every blueprint is derived, fresh, valid by the published schemas, and true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.blueprints.mermaid import problems_of
from tests.blueprints.samples import record, sample

from waybill.blueprints import asyncapi, diagrams
from waybill.blueprints.catalogue import EVERY
from waybill.blueprints.schemas import schema_of, schemas_of
from waybill.commands.blueprints import Form, show
from waybill.messaging.adapters.kafka.headers import to_headers
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.platform import blueprint_openapi
from waybill.platform.blueprint_page import endpoints_of, page_of
from waybill.platform.descriptions import COMMAND, PAGES, SCHEMAS, files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.contracts import Event

ROOT = Path(__file__).parents[2]
BY_HAND = {PAGES / "writing-one.md"}
PUBLISHED = json.loads((Path(__file__).parent / "published/asyncapi-3.1.0.json").read_text())
ASYNCAPI = jsonschema_rs.validator_for(PUBLISHED)

every_blueprint = pytest.mark.parametrize("blueprint", EVERY.values(), ids=list(EVERY))
every_event = pytest.mark.parametrize(
    ("blueprint", "event"),
    [(blueprint, event) for blueprint in EVERY.values() for event in blueprint.events],
    ids=[f"{name}-{event.__name__}" for name, one in EVERY.items() for event in one.events],
)


def test_the_committed_files_are_what_the_definitions_say() -> None:
    """Pages, documents and schemas of each blueprint: none stale, none missing, none left over."""
    described = files()
    stale = [
        str(path)
        for path, text in described.items()
        if not (ROOT / path).exists() or (ROOT / path).read_text() != text
    ]
    assert not stale, f"run `{COMMAND}` and commit what it writes"
    there = {path.relative_to(ROOT) for path in (ROOT / PAGES).iterdir()}
    assert there == {path for path in described if path.parent == PAGES} | BY_HAND
    assert {path.name for path in (ROOT / SCHEMAS).iterdir()} == set(EVERY)


@every_blueprint
def test_its_diagrams_are_mermaid(blueprint: Blueprint) -> None:
    """Each line is one that Mermaid's grammar has; blocks are closed, who speaks is named."""
    for drawn in re.findall(r"```mermaid\n(.*?)\n```", page_of(blueprint), re.DOTALL):
        assert problems_of(drawn) == []


@pytest.mark.parametrize(
    "broken",
    [
        "graph TD",
        "flowchart LR\n    a[one\n",
        "flowchart LR\n    a[one]\n    a -->|x| b",
        "sequenceDiagram\n    participant a\n    alt x",
        "sequenceDiagram\n    participant a\n    a->>b: x",
        "stateDiagram-v2\n    A -> B",
        "stateDiagram-v2\n    [*] --> A",
    ],
)
def test_a_diagram_that_cannot_be_drawn_is_found(broken: str) -> None:
    """An unclosed bracket or block, a stranger, an arrow of another grammar, a dead end."""
    assert problems_of(broken)


@pytest.mark.parametrize(
    ("name", "at_once", "all_the_same"),
    [
        ("checkout", [], ["PaymentSucceeded", "RefundRequested", "PaymentRefunded"]),
        (
            "choreography",
            ["StockReleaseRequested", "StockReleased"],
            ["PaymentSucceeded", "RefundRequested", "PaymentRefunded"],
        ),
        (
            "orchestration",
            ["RefundRequested", "PaymentRefunded"],
            ["InventoryReserved", "InventoryReleaseRequested", "InventoryReleased"],
        ),
        ("reservation", ["inventory.release-requested", "inventory.released"], []),
    ],
)
def test_a_cancel_undoes_what_can_be_done_by_then(
    name: str, at_once: list[str], all_the_same: list[str]
) -> None:
    """An order of checkout that is paid cannot be cancelled: the refund is a late payment's."""
    before, opened, after = diagrams.cancel(EVERY[name]).partition("    opt ")
    told = re.findall(r"->>\w+: (.+)", before)
    assert told[len(told) - len(at_once) :] == at_once
    assert bool(opened) == bool(all_the_same)
    assert re.findall(r"->>\w+: (.+)", after) == all_the_same
    assert "Refund" not in before or "RefundRequested" in at_once


@every_blueprint
def test_its_asyncapi_document_is_valid_and_whole(blueprint: Blueprint) -> None:
    """By the initiative's own schema; references lead somewhere; every topic has its sides."""
    document = json.loads(json.dumps(asyncapi.document(blueprint)))
    assert [str(error) for error in ASYNCAPI.iter_errors(document)] == []
    assert [one for one in references(document) if not leads(document, one)] == []
    assert set(document["channels"]) == set(blueprint.topics)
    operations = document["operations"]
    for service in blueprint.services.values():
        for topic in service.publishes:
            assert operations[f"{service.name}.sends.{topic}"]["action"] == "send"
        for topic, events in service.acts_on.items():
            received = operations[f"{service.name}.receives.{topic}"]
            assert len(received["messages"]) == len({*blueprint.wire_names(events)})
    spoilt = {**document, "channels": {"x": {"adress": "x"}}}
    assert not ASYNCAPI.is_valid(spoilt)


@every_blueprint
def test_its_openapi_document_is_valid_and_whole(blueprint: Blueprint) -> None:
    """By OpenAPI 3.1's own schema; every endpoint is in it, at its service's address."""
    document = json.loads(json.dumps(blueprint_openapi.document(blueprint)))
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert [one for one in references(document) if not leads(document, one)] == []
    described = {
        (item["servers"][0]["description"], method.upper(), path)
        for path, item in document["paths"].items()
        for method in item.keys() - {"servers"}
    }
    assert described == set(endpoints_of(blueprint))
    spoilt = {**document, "paths": {"/x": {"get": {"parameters": [{"in": "header"}]}}}}
    assert not OpenAPIV31SpecValidator(spoilt).is_valid()


@every_event
def test_a_record_is_as_its_schema_says(blueprint: Blueprint, event: type[Event]) -> None:
    """What the codec writes is valid by the published schema, with every header described."""
    message = record(blueprint, sample(event))
    validator = jsonschema_rs.validator_for(schema_of(blueprint, event), validate_formats=True)
    value = json.loads(message.value)
    assert [str(error) for error in validator.iter_errors(value)] == []
    headers = {name for name, _ in to_headers(message)}
    assert headers == set(asyncapi.headers_of(blueprint))


@every_event
def test_a_record_is_read_again_and_a_newer_one_is_refused(
    blueprint: Blueprint, event: type[Event]
) -> None:
    """The same event comes back; a version beyond ours is a dead letter, with what to do (C39)."""
    codec = blueprint.codec()
    message = record(blueprint, sample(event))
    read = codec.decode(message)
    assert type(read).__name__ == event.__name__
    newer = record(blueprint, sample(event), version=codec.written_version(event) + 1)
    with pytest.raises(UndecodableMessageError, match="newer"):
        codec.decode(newer)


@every_blueprint
def test_every_schema_has_a_place_of_its_own(blueprint: Blueprint) -> None:
    """Two events of one name would overwrite each other's."""
    names = [(name, version) for name, version, _ in schemas_of(blueprint)]
    assert len(set(names)) == len(names)
    assert {name for name, _ in names} == set(blueprint.wire_names(blueprint.events))


@every_blueprint
def test_the_command_prints_each_form(
    blueprint: Blueprint, capsys: pytest.CaptureFixture[str]
) -> None:
    """`waybill blueprints show NAME`, and the documents that are committed."""
    show(blueprint.name)
    assert capsys.readouterr().out.startswith(f"# {blueprint.name}\n")
    for form in (Form.ASYNCAPI, Form.OPENAPI):
        show(blueprint.name, form)
        committed = ROOT / PAGES / f"{blueprint.name}.{form}.json"
        assert capsys.readouterr().out == committed.read_text()


def references(document: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Every reference in it."""
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for each in document.values():
            yield from references(each)
    elif isinstance(document, list):
        for each in document:
            yield from references(each)


def leads(document: dict[str, Any], reference: str) -> bool:
    """Whether it leads to a place in this document."""
    here: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not isinstance(here, dict) or step not in here:
            return False
        here = here[step]
    return True
