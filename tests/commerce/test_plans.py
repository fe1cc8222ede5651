"""Statements of the stores keep away from whole tables, also when planned on empty ones (R16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.inventory import catalogue
from waybill.commerce.inventory import store as inventory
from waybill.commerce.notifications import store as notifications
from waybill.commerce.orders import reads
from waybill.commerce.orders import store as orders
from waybill.commerce.payments import ledger
from waybill.commerce.payments import store as payments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import TestDatabases

STATEMENTS = {
    "order": (
        *(orders._LOCK, orders._LOCK_DUE, orders._SAVE, orders._SAVE_ASKED, orders._PLACE),
        *(orders._READ_KEYS, reads._ONE, reads._TIMELINE),
        *(
            reads._LIST.format(f"customer_id = $2 AND id < $3 AND {condition}")
            for condition in ("true", *reads.status_conditions(PROCESS).values())
        ),
    ),
    "inventory": (
        *(inventory._LOCK, inventory._SAVE_STOCK, inventory._SAVE_BATCH),
        *(catalogue._ONE, inventory._INSERT_PRODUCT, catalogue._RENAME),
    ),
    "payment": (payments._LOCK, payments._TELL, payments._OF_ORDER),
    "notification": (notifications.OF_ORDER,),
    "provider": (
        *(ledger._INSERT_CHARGES, ledger._CHARGES, ledger._INSERT_REFUNDS, ledger._REFUNDS),
    ),
}

CASES = [(service, text) for service, statements in STATEMENTS.items() for text in statements]


@pytest.fixture
async def connections(
    databases: TestDatabases, commerce_templates: dict[str, str]
) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection to each service's empty tables, which plans for no particular values."""
    names = {service: databases.copy(name) for service, name in commerce_templates.items()}
    opened = {}
    for service, name in names.items():
        opened[service] = await asyncpg.connect(databases.server.url(name))
        await opened[service].execute("SET plan_cache_mode = force_generic_plan")
    yield opened
    for service, connection in opened.items():
        await connection.close()
        databases.drop(names[service])


async def test_no_statement_scans_a_table_when_planned_on_an_empty_one(
    connections: dict[str, asyncpg.Connection],
) -> None:
    """A plan made before the first row must still do with a million (performance: traps)."""
    for service, statement in CASES:
        connection = connections[service]
        await connection.execute(f"PREPARE planned AS {statement}")
        count = await connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'"
        )
        arguments = ", ".join(["NULL"] * count)
        plan = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE planned({arguments})")
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan" not in text, f"{statement}\n{text}"
        await connection.execute("DEALLOCATE planned")


async def test_a_function_that_locks_and_loads_plans_by_index(
    connections: dict[str, asyncpg.Connection],
) -> None:
    """What app.lock_payments asks, planned with its settings on empty tables, asks indexes only."""
    connection = connections["payment"]
    for setting in await connection.fetchval(
        "SELECT proconfig FROM pg_proc WHERE oid = 'app.lock_payments'::regproc"
    ):
        await connection.execute(f"SET {setting}")
    await connection.execute(
        "PREPARE planned AS SELECT * FROM app.payments p WHERE p.key = ANY ($1::text[])"
    )
    plan = "\n".join(
        row[0]
        for row in await connection.fetch("EXPLAIN (COSTS OFF) EXECUTE planned (NULL::text[])")
    )
    assert plan.count("Index Cond") == 3, plan
    assert "Nested Loop" in plan
    assert "Scan on" not in plan.replace("Bitmap Heap Scan on", "").replace(
        "Bitmap Index Scan on", ""
    ), plan
