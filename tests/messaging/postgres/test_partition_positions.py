"""Positions of a log's partitions keep their contract, on PostgreSQL and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.memory import MemoryDatabase
from waybill.messaging.adapters.memory.partition_positions import MemoryPartitionPositions
from waybill.messaging.adapters.postgres.connection import PostgresDatabase
from waybill.messaging.adapters.postgres.partition_positions import PostgresPartitionPositions
from waybill.messaging.testing.contracts.partition_positions import PartitionPositionsContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TestPostgresPartitionPositions(PartitionPositionsContract):
    @pytest.fixture
    async def database(self, messaging_database: str) -> AsyncIterator[PostgresDatabase]:
        opened = await PostgresDatabase.connect(messaging_database)
        yield opened
        await opened.close()

    @pytest.fixture
    def positions(self, database: PostgresDatabase) -> PostgresPartitionPositions:
        return PostgresPartitionPositions(database)


class TestMemoryPartitionPositions(PartitionPositionsContract):
    @pytest.fixture
    def database(self) -> MemoryDatabase:
        return MemoryDatabase()

    @pytest.fixture
    def positions(self, database: MemoryDatabase) -> MemoryPartitionPositions:
        return MemoryPartitionPositions(database)
