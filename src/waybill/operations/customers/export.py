"""Everything that is kept of one customer, as one JSON document; read-only, by service roles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from waybill.operations.customers.identity import ACCOUNTS, ORDER
from waybill.operations.customers.places import OF_EVERY_SERVICE, SHOWN, WITHOUT_MESSAGES
from waybill.operations.customers.rows import named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from waybill.messaging.core.ports import Database
    from waybill.operations.customers.identity import Customer

NOTIFICATION: Final = "notification"
_THERE: Final = "SELECT to_regclass($1) IS NOT NULL"
_CONTACTS: Final = """
SELECT user_id, email, created_at, updated_at FROM personal.contacts WHERE user_id = ANY($1)
"""
_ACCOUNT: Final = """
SELECT a.id, a.email, a.roles, a.created_at, a.updated_at, (
           SELECT coalesce(jsonb_agg(jsonb_build_object('created_at', s.created_at, 'expires_at',
                      s.expires_at, 'ended_at', s.ended_at, 'end_reason', s.end_reason)
                      ORDER BY s.created_at), '[]')
           FROM private.sessions s WHERE s.account_id = a.id
       ) AS sessions
FROM private.accounts a WHERE a.id = ANY($1)
"""


async def exported(
    databases: Mapping[str, Database], customer: Customer, prefix: str, now: datetime
) -> str:
    """The document. Passwords, tokens and their hashes are no part of it."""
    told: dict[str, Any] = {
        "customer": customer.asked,
        "ids": [str(each) for each in customer.ids],
        "exportedAt": now.isoformat(timespec="seconds"),
    }
    if ACCOUNTS in databases:
        accounts = await _rows(databases[ACCOUNTS], _ACCOUNT, list(customer.ids))
        told["accounts"] = accounts
    if await has_contacts(databases):
        told["contacts"] = await _rows(databases[NOTIFICATION], _CONTACTS, list(customer.names))
    names = named(customer, prefix)
    for service, database in sorted(databases.items(), key=lambda each: each[0] != ORDER):
        if service in WITHOUT_MESSAGES or service == ACCOUNTS:
            continue
        for title, statement in SHOWN.get(service, {}).items():
            given = names if "$2" in statement else list(customer.orders)
            told[title] = await _rows(database, statement.replace("$2", "$1"), given)
        for title, statement in OF_EVERY_SERVICE.items():
            rows = await _rows(database, statement.replace("$2", "$1"), names)
            told[service + title] = rows
    return json.dumps(told, indent=1, ensure_ascii=False)


async def has_contacts(databases: Mapping[str, Database]) -> bool:
    """Whether this blueprint keeps addresses."""
    if NOTIFICATION not in databases:
        return False
    # A role that may not look into a schema sees no table there.
    rows = await databases[NOTIFICATION].fetch(_THERE, "personal.contacts")
    return bool(rows[0][0])


async def _rows(database: Database, statement: str, given: object) -> Any:  # noqa: ANN401 - JSON
    whole = f"SELECT coalesce(jsonb_agg(to_jsonb(each)), '[]')::text FROM ({statement}) AS each"  # noqa: S608 - our own constants
    rows = await database.fetch(whole, given)
    return json.loads(rows[0][0])
