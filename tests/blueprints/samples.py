"""An event of any class, made from its members' types: a new blueprint's need no sample."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import inspect

from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint
    from waybill.commerce.contracts import Event

ORDER = UUID(int=20_260_226)
"""One that a document with whole numbers for its ids can show, too."""
AT = datetime(2026, 2, 26, 12, 40, 15, 123456, tzinfo=UTC)
_VALUES: dict[type[inspect.Type], Any] = {
    inspect.UUIDType: ORDER,
    inspect.DecimalType: Decimal("19.98"),
    inspect.DateTimeType: AT,
    inspect.BoolType: True,
}


def sample(event: type[Event]) -> Event:
    """One with every member."""
    made: Event = _value(inspect.type_info(event))
    return made


def _value(kind: inspect.Type) -> Any:  # noqa: ANN401, PLR0911 - a value of any type, by its kind
    if type(kind) in _VALUES:
        return _VALUES[type(kind)]
    match kind:
        case inspect.StructType():
            return kind.cls(**{field.name: _value(field.type) for field in kind.fields})
        case inspect.UnionType():
            return _value(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
        case inspect.EnumType():
            return next(iter(kind.cls))
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.VarTupleType():
            return (_value(kind.item_type),)
        case inspect.IntType():
            return max(kind.ge or 0, 2)
        case inspect.StrType():
            return "EUR" if kind.pattern else "alice@example.com"
        case inspect.Metadata():
            return _value(kind.type)
    raise AssertionError(f"how a {kind} looks is not known here: teach it")


def record(blueprint: Blueprint, event: Event, **changes: Any) -> Message:  # noqa: ANN401 - any field
    """As the event stands in its topic."""
    codec = blueprint.codec()
    message = Message(
        id=UUID(int=5),
        topic=codec.topic(event),
        type=codec.type_name(event),
        version=codec.version(event),
        key=str(event.order_id),
        value=b"",
        occurred_at=AT,
        aggregate_type="Order",
        aggregate_version=1,
        correlation_id=str(event.order_id),
        causation_id=UUID(int=4),
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        producer=blueprint.writer(codec.topic(event)).name,
    )
    value = codec.encode(event, message)
    return msgspec.structs.replace(message, **{"value": value, **changes})
