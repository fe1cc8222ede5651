"""The AsyncAPI 3 document of a blueprint: its topics, who writes and who reads them, every record.

Operations are named by the service whose they are: `order-service.sends.order-events`.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from waybill.blueprints.schemas import described

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from waybill.blueprints.definition import Blueprint, Service
    from waybill.commerce.contracts import Event

SPECIFICATION = "3.1.0"
_BINDING = "0.5.0"
_REFERENCE = "#/components/schemas/{name}"

_TEXT = {"type": "string"}
_ID = {"type": "string", "format": "uuid"}
HEADERS: dict[str, dict[str, Any]] = {
    "eventId": {**_ID, "description": "The same in every copy: readers apply it once."},
    "eventType": _TEXT,
    "eventVersion": {"type": "string", "pattern": "^[0-9]+$"},
    "correlationId": _TEXT,
    "causationId": {**_ID, "description": "The event that led to this one."},
    "producer": _TEXT,
    "traceparent": {**_TEXT, "description": "W3C Trace Context."},
    "aggregateType": _TEXT,
    "aggregateVersion": {
        "type": "string",
        "pattern": "^[0-9]+$",
        "description": "The number of this service's events about this order, without gaps.",
    },
    "content-type": {"const": "application/json"},
    "ce_specversion": {"const": "1.0"},
    "ce_id": _ID,
    "ce_type": _TEXT,
    "ce_source": _TEXT,
    "ce_subject": _TEXT,
    "ce_time": {"type": "string", "format": "date-time"},
}
"""Of every record, UTF-8 (docs/events.md)."""
_SOMETIMES = {"causationId", "traceparent", "aggregateType", "aggregateVersion"}
_ALWAYS = sorted(HEADERS.keys() - _SOMETIMES)


def document(blueprint: Blueprint) -> dict[str, Any]:
    """The whole document."""
    messages, schemas = _messages(blueprint)
    return {
        "asyncapi": SPECIFICATION,
        "info": {
            "title": f"Waybill: {blueprint.name}",
            "version": version("waybill"),
            "description": (
                f"{blueprint.summary} (from {blueprint.source}). Delivery is at least "
                "once: apply an `eventId` once. Members may be added within a version."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "description": "As KAFKA_BROKERS says; without it services read outboxes.",
            }
        },
        "channels": {topic: _channel(blueprint, topic) for topic in blueprint.topics},
        "operations": dict(_operations(blueprint)),
        "components": {
            "messages": messages,
            "schemas": {name: schemas[name] for name in sorted(schemas)},
        },
    }


def _channel(blueprint: Blueprint, topic: str) -> dict[str, Any]:
    names = _names(blueprint, blueprint.topics[topic])
    writers = " and ".join(each.name for each in blueprint.writers(topic))
    return {
        "address": topic,
        "description": (
            f"Written by {writers}. What a reader cannot apply goes to "
            f"{topic}{blueprint.dead_letter_suffix}."
        ),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": _BINDING}},
    }


def _operations(blueprint: Blueprint) -> Iterator[tuple[str, dict[str, Any]]]:
    for service in blueprint.services.values():
        for topic in service.publishes:
            events = tuple(
                event
                for event in blueprint.topics[topic]
                if not service.tells or event in service.tells
            )
            yield (
                f"{service.name}.sends.{topic}",
                _operation(blueprint, service, "send", topic, events),
            )
        for topic, events in service.acts_on.items():
            operation = _operation(blueprint, service, "receive", topic, events)
            group = {"type": "string", "enum": [service.name]}
            operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
            yield f"{service.name}.receives.{topic}", operation


def _operation(
    blueprint: Blueprint,
    service: Service,
    action: str,
    topic: str,
    events: tuple[type[Event], ...],
) -> dict[str, Any]:
    messages = f"#/channels/{topic}/messages"
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"{messages}/{name}"} for name in _names(blueprint, events)],
        "tags": [{"name": service.name}],
    }


def _messages(blueprint: Blueprint) -> tuple[dict[str, Any], dict[str, Any]]:
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    headers = {"type": "object", "properties": headers_of(blueprint), "required": _ALWAYS}
    for event in blueprint.events:
        payload, parts = described(blueprint, event, _REFERENCE)
        schemas |= parts
        (name,) = _names(blueprint, (event,))
        if name in messages:
            continue
        key = {"type": "string", "description": "The order's id."}
        messages[name] = {
            "name": name,
            "title": name,
            "summary": payload["description"],
            "contentType": "application/json",
            "correlationId": {"location": "$message.header#/correlationId"},
            "headers": {"$ref": "#/components/schemas/Headers"},
            "payload": payload,
            "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
        }
    return messages, {**schemas, "Headers": headers}


def headers_of(blueprint: Blueprint) -> dict[str, dict[str, Any]]:
    """The headers of a record of this blueprint, by name."""
    return {**HEADERS, **dict.fromkeys(blueprint.headers, _TEXT)}


def _names(blueprint: Blueprint, events: Iterable[type[Event]]) -> list[str]:
    """What they are called on the wire, where two may share a name."""
    return [*dict.fromkeys(name for event in events for name in blueprint.wire_names((event,)))]
