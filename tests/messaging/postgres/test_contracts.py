"""The PostgreSQL adapter keeps the contracts of Database, Transaction, Outbox and Inbox."""

from __future__ import annotations

import pytest

from waybill.messaging.adapters.postgres.inbox import PostgresInbox
from waybill.messaging.adapters.postgres.outbox import PostgresOutbox
from waybill.messaging.testing.contracts.inbox import InboxContract
from waybill.messaging.testing.contracts.outbox import OutboxContract
from waybill.messaging.testing.contracts.transaction import TransactionContract


@pytest.fixture
def outbox() -> PostgresOutbox:
    """With the default limits."""
    return PostgresOutbox()


@pytest.fixture
def inbox() -> PostgresInbox:
    """The only one."""
    return PostgresInbox()


class TestPostgresTransaction(TransactionContract):
    pass


class TestPostgresOutbox(OutboxContract):
    pass


class TestPostgresInbox(InboxContract):
    pass
