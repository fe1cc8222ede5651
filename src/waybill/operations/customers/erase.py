"""Erases one customer and keeps the books: amounts, stock, ids and states stay as they are.

What is under way comes first: an order, a call or an event that somebody has yet to read would
need what is erased. May be repeated; a database that failed is caught up on then.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from waybill.operations.customers.export import NOTIFICATION, has_contacts
from waybill.operations.customers.identity import ACCOUNTS, ORDER
from waybill.operations.customers.places import MESSAGES, OWN, WITHOUT_MESSAGES
from waybill.operations.customers.rows import changes, update
from waybill.operations.customers.sweep import ERASED, Personal, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.core.ports import Database, Transaction
    from waybill.operations.customers.identity import Customer
    from waybill.operations.customers.places import Place

_LAST: Final = (NOTIFICATION, ORDER, ACCOUNTS)
_KEPT: Final = """
SELECT id, particulars::text AS kept FROM app.orders
WHERE id = ANY($1) AND particulars IS NOT NULL ORDER BY id FOR UPDATE
"""
_KEEP: Final = "UPDATE app.orders SET particulars = $2::jsonb WHERE id = $1"
_EMAILS: Final = "SELECT email FROM private.accounts WHERE id = ANY($1)"
_CONTACTS: Final = "SELECT email FROM personal.contacts WHERE user_id = ANY($1)"
_FORGET: Final = "DELETE FROM personal.contacts WHERE user_id = ANY($1)"
_CLOSE: Final = (
    "DELETE FROM private.sessions WHERE account_id = ANY($1)",
    "DELETE FROM private.accounts WHERE id = ANY($1)",
)


async def known_of(
    databases: Mapping[str, Database], customer: Customer, blueprint: Blueprint
) -> Personal:
    """Every personal value that is kept of the customer."""
    values: set[str] = {customer.asked} if "@" in customer.asked else set()
    if ACCOUNTS in databases:
        rows = await databases[ACCOUNTS].fetch(_EMAILS, list(customer.ids))
        values |= {row["email"] for row in rows}
    if await has_contacts(databases):
        rows = await databases[NOTIFICATION].fetch(_CONTACTS, list(customer.names))
        values |= {row["email"] for row in rows}
    async with databases[ORDER].transaction() as transaction:
        for row in await transaction.fetch(_KEPT, list(customer.orders)):
            kept = json.loads(row["kept"])
            for member in blueprint.orders.personal:
                values |= {each for each in leaves(kept.get(member)) if each != ERASED}
    return Personal(frozenset(values), frozenset(blueprint.personal))


async def erased(
    databases: Mapping[str, Database],
    customer: Customer,
    personal: Personal,
    blueprint: Blueprint,
) -> dict[str, int]:
    """Erase, a database at a time; how many rows were changed or deleted, by table.

    What tells of the customer comes last: an interrupted erasure is asked for again by it.
    """
    counts: dict[str, int] = {}
    contacts = await has_contacts(databases)
    for service in sorted(databases, key=lambda name: _LAST.index(name) if name in _LAST else -1):
        if service in WITHOUT_MESSAGES:
            continue
        places = (*OWN.get(service, ()), *MESSAGES)
        async with databases[service].transaction() as transaction:
            for place in places:
                count = await _sweep(transaction, place, customer, personal, blueprint)
                _add(counts, f"{service} {place.table}", count)
            if service == ORDER:
                count = await _forget_particulars(transaction, customer.orders, blueprint)
                _add(counts, "order app.orders", count)
            if service == NOTIFICATION and contacts:
                count = await transaction.execute(_FORGET, list(customer.names))
                _add(counts, "notification personal.contacts", count)
            if service == ACCOUNTS:
                for statement in _CLOSE:
                    count = await transaction.execute(statement, list(customer.ids))
                    _add(counts, f"accounts {statement.split()[2]}", count)
    return counts


def _add(counts: dict[str, int], name: str, count: int) -> None:
    if count:
        counts[name] = counts.get(name, 0) + count


async def _sweep(
    transaction: Transaction,
    place: Place,
    customer: Customer,
    personal: Personal,
    blueprint: Blueprint,
) -> int:
    found = await changes(transaction, place, customer, personal, blueprint)
    for after, key in found:
        await transaction.execute(update(place), *after, *key)
    return len(found)


async def _forget_particulars(
    transaction: Transaction, orders: Sequence[UUID], blueprint: Blueprint
) -> int:
    changed = 0
    for row in await transaction.fetch(_KEPT, list(orders)):
        before = json.loads(row["kept"])
        after = {
            member: _forgotten(value) if member in blueprint.orders.personal else value
            for member, value in before.items()
        }
        if before != after:
            changed += 1
            await transaction.execute(_KEEP, row["id"], json.dumps(after))
    return changed


def _forgotten(value: object) -> str | None:
    """A text stays one, for whoever shows it."""
    return ERASED if isinstance(value, str) else None
