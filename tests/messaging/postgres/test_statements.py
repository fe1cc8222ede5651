"""Round trips are counted where they are made."""

from __future__ import annotations

import pytest

from waybill.messaging.adapters.postgres import statements
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.platform.metrics import ServiceMetrics


async def test_every_round_trip_counts(messaging_database: str) -> None:
    """Each statement, alone or in a unit, and COMMIT or ROLLBACK; BEGIN rides on the first one."""
    database = await PostgresDatabase.connect(messaging_database)
    try:
        before = statements.sent
        await database.fetch("SELECT 1")
        assert statements.sent - before == 1
        async with database.transaction() as transaction:
            await transaction.fetch("SELECT 1")
            await transaction.execute("SET LOCAL lock_timeout = '1s'")
        assert statements.sent - before == 4
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as transaction:
                await transaction.fetch("SELECT 1")
                _ = 1 / 0
        assert statements.sent - before == 6
    finally:
        await database.close()
    metrics = ServiceMetrics("order-service", version="1")
    shown = metrics.registry.get_sample_value(
        "process_database_statements_total", {"application": "order-service"}
    )
    assert shown == statements.sent
