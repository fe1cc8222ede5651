"""What must end before a customer is erased, since it would need what is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.customers.identity import ORDER
from waybill.operations.customers.places import MESSAGES, WITHOUT_MESSAGES
from waybill.operations.customers.rows import changes, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waybill.blueprints.definition import Blueprint
    from waybill.messaging.core.ports import Database
    from waybill.operations.customers.identity import Customer
    from waybill.operations.customers.sweep import Personal

SHOWN_MAX: Final = 5
_OPEN: Final = "SELECT id FROM app.orders WHERE id = ANY($1) AND settled_at IS NULL ORDER BY id"
_CALLS: Final = """
SELECT kind, key FROM messaging.deliveries
WHERE state IN ('PENDING', 'PARKED') AND split_part(key, ':', 1) = ANY($1) ORDER BY kind, key
"""
_UNREAD: Final = """
SELECT DISTINCT aggregate_id FROM public.outbox_events
WHERE aggregate_id = ANY($1) AND NOT published ORDER BY aggregate_id
"""
_BY_CONNECTOR: Final = "SELECT mode = 'cdc' FROM messaging.outbox_meta"
_HAS_EVENTS: Final = "SELECT to_regclass('public.outbox_events') IS NOT NULL"


async def refuse_under_way(
    databases: Mapping[str, Database], customer: Customer, prefix: str
) -> None:
    """Raise ConfigurationError, with what to do, while anything of theirs has not ended."""
    rows = await databases[ORDER].fetch(_OPEN, list(customer.orders))
    if rows:
        raise _refused("orders", [str(row["id"]) for row in rows], "cancel them, or wait")
    for service, database in databases.items():
        if service in WITHOUT_MESSAGES:
            continue
        rows = await database.fetch(_CALLS, named(customer, prefix))
        if rows:
            calls = [f"{row['kind']} {row['key']}" for row in rows]
            what = f"calls of {service}"
            raise _refused(what, calls, "wait, or judge them: waybill deliveries list")
        if (await database.fetch(_HAS_EVENTS))[0][0]:
            rows = await database.fetch(_UNREAD, list(customer.orders))
            if rows:
                unread = [str(row["aggregate_id"]) for row in rows]
                what = f"events of {service}, of orders"
                raise _refused(what, unread, "start the platform, so that all are read")


def _refused(what: str, which: Sequence[str], act: str) -> ConfigurationError:
    more = f" and {len(which) - SHOWN_MAX} more" if len(which) > SHOWN_MAX else ""
    return ConfigurationError(
        f"nothing is erased: {what} are under way ({', '.join(which[:SHOWN_MAX])}{more}): "
        f"{act}, then erase again"
    )


async def refuse_sent_by_a_connector(
    databases: Mapping[str, Database],
    customer: Customer,
    personal: Personal,
    blueprint: Blueprint,
) -> None:
    """Raise ConfigurationError if events would have to change that a connector sends.

    A change of an outbox row ends Debezium's event router (docs/library/cdc.md).
    """
    outbox = MESSAGES[0]
    for service, database in databases.items():
        if service in WITHOUT_MESSAGES or not (await database.fetch(_BY_CONNECTOR))[0][0]:
            continue
        async with database.transaction() as transaction:
            found = await changes(transaction, outbox, customer, personal, blueprint)
        if found:
            raise _refused(
                f"{len(found)} events of {service}, sent by a connector,",
                [str(key) for _, key in found],
                "wait until the outbox's retention has dropped them",
            )
