"""JSON Schema of every event as it stands in its topic, derived from the codec that writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.contracts import Event

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPE_NAMES = ("eventType", "type")
"""What the member that names an event's type is called, in one document or another."""
_BODIES = ("payload", "data")
"""What the member is called that holds the event, in documents with an envelope."""
_HEAD = (*_TYPE_NAMES, "version")
_HERE = "#/$defs/{name}"


def schema_of(blueprint: Blueprint, event: type[Event]) -> Schema:
    """A schema that stands alone: what a reader of the topic may count on (docs/events.md)."""
    top, parts = described(blueprint, event, _HERE)
    parts = {name: parts[name] for name in sorted(_named(top, parts))}
    whole = {"$schema": DIALECT, **top}
    return {**whole, "$defs": parts} if parts else whole


def described(
    blueprint: Blueprint, event: type[Event], reference: str
) -> tuple[Schema, dict[str, Schema]]:
    """The event's object, and by name the parts that it refers to by `reference`."""
    codec = blueprint.codec()
    (name,) = codec.names((event,))
    (found,), components = msgspec.json.schema_components(
        (codec.written(event),), ref_template=reference
    )
    parts = {part: _tidy(schema) for part, schema in components.items()}
    own = found["$ref"].rpartition("/")[2] if "$ref" in found else None
    top = dict(parts.pop(own)) if own else _tidy(found)
    members = dict(top.get("properties", {}))
    for member in _TYPE_NAMES:
        if members.get(member) == {"type": "string"}:
            members[member] = {"const": name}
    if members.get("version") == {"type": "integer"}:
        members["version"] = {"const": codec.written_version(event)}
    purpose = (event.__doc__ or "").strip().partition("\n\n")[0]
    told = {"title": name, "description": " ".join(purpose.split())}
    return {**top, **told, "properties": members}, parts


def schemas_of(blueprint: Blueprint) -> Iterator[tuple[str, int, Schema]]:
    """Name on the wire, version and schema of every event of this blueprint.

    Events that share a name, and are told apart by a member, are of one form.
    """
    seen = set()
    for event in blueprint.events:
        (name,) = blueprint.wire_names((event,))
        if name not in seen:
            seen.add(name)
            yield name, blueprint.codec().written_version(event), schema_of(blueprint, event)


def members_of(schema: Schema) -> Iterator[tuple[str, bool]]:
    """The members of an event without its envelope's, and whether each is always there."""
    envelope = schema["properties"]
    for member in _BODIES:
        reference = envelope.get(member, {}).get("$ref")
        if reference is not None:
            schema = schema["$defs"][reference.rpartition("/")[2]]
    for name in schema["properties"]:
        if name not in _HEAD:
            yield name, name in schema.get("required", ())


def _tidy(schema: Any) -> Any:  # noqa: ANN401 - JSON Schema is any JSON
    """Money is a JSON number on the wire, where msgspec describes its default, a string."""
    if isinstance(schema, list):
        return [_tidy(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {name: _tidy(member) for name, member in schema.items()}
    if tidied.get("format") == "decimal":
        tidied["type"] = "number"
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(tidied["description"].split())
    return tidied


def _named(schema: Any, parts: dict[str, Schema]) -> set[str]:  # noqa: ANN401 - any JSON
    """The names of the parts that this refers to, and of those that they do."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name in parts and name not in found:
                found.add(name)
                waiting.append(parts[name])
    return found
