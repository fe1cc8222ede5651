"""Rows that hold something of a customer, and what they are without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.operations.customers.sweep import swept_bytes, swept_json, swept_text

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.core.ports import Transaction
    from waybill.operations.customers.identity import Customer
    from waybill.operations.customers.places import Kind, Place
    from waybill.operations.customers.sweep import Personal


def named(customer: Customer, prefix: str) -> list[str]:
    """The customer's orders as messages name them."""
    bare = [str(each) for each in customer.orders]
    return [*bare, *(f"{prefix}{each}" for each in bare if prefix)]


async def changes(
    transaction: Transaction,
    place: Place,
    customer: Customer,
    personal: Personal,
    blueprint: Blueprint,
) -> list[tuple[list[Any], list[Any]]]:
    """The columns of each row as they must become, and the row's key."""
    columns = ", ".join(f"{name}::text" if kind == "json" else name for name, kind in place.columns)
    keys = ", ".join(place.key)
    asked = f"SELECT {columns}, {keys} FROM {place.table} WHERE {_numbered(place.rows)}"  # noqa: S608 - our own constants
    given = _given(place.rows, customer, personal, blueprint)
    found, width = [], len(place.columns)
    for row in await transaction.fetch(asked, *given):
        before = [row[number] for number in range(width)]
        after = [
            _swept(value, kind, personal)
            for value, (_, kind) in zip(before, place.columns, strict=True)
        ]
        if before != after:
            found.append((after, [row[width + number] for number in range(len(place.key))]))
    return found


def update(place: Place) -> str:
    """The statement that writes what `changes` found, columns first, then the key."""
    sets = [
        f"{name} = ${number}" + ("::text::jsonb" if _is_jsonb(place, name) else "")
        for number, (name, _) in enumerate(place.columns, 1)
    ]
    keys = [f"{name} = ${number}" for number, name in enumerate(place.key, len(sets) + 1)]
    return f"UPDATE {place.table} SET {', '.join(sets)} WHERE {' AND '.join(keys)}"  # noqa: S608 - our own constants


def _is_jsonb(place: Place, column: str) -> bool:
    return place.table.startswith("app.") and (column, "json") in place.columns


def _numbered(rows: str) -> str:
    """The clause with its parameters numbered from 1: a server takes no gap among them."""
    for number, name in enumerate(_used(rows), 1):
        rows = rows.replace(name, f"${number}")
    return rows


def _used(rows: str) -> list[str]:
    return [name for name in ("$1", "$2", "$3") if name in rows]


def _given(
    rows: str, customer: Customer, personal: Personal, blueprint: Blueprint
) -> list[list[UUID] | list[str]]:
    values: dict[str, Any] = {
        "$1": list(customer.orders),
        "$2": named(customer, blueprint.order_prefix),
        "$3": sorted(personal.telling),
    }
    return [values[name] for name in _used(rows)]


def _swept(value: Any, kind: Kind, personal: Personal) -> Any:  # noqa: ANN401 - a column's
    if value is None:
        return None
    match kind:
        case "bytes":
            return swept_bytes(bytes(value), personal)
        case "json":
            return swept_json(value, personal)
        case "text":
            return swept_text(value, personal)
