"""Where SQLAlchemy tells what becomes of a transaction.

It has an event before COMMIT, and none after it: that COMMIT returned shows when the connection
goes back to the pool or begins again without an error in between.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection, ExceptionContext, RootTransaction

KEY = "waybill.messaging.committing"
"""In `Connection.info`: the joined transaction whose COMMIT was sent."""


class Joined(Protocol):
    """What the events tell a joined transaction."""

    def before_commit(self, sync: Connection) -> None:
        """COMMIT comes next. May raise to prevent it."""

    def before_statement(self, statement: str) -> None:
        """A statement comes next."""

    def committed(self) -> None:
        """COMMIT has returned."""

    def rolled_back(self) -> None:
        """Nothing of it has happened."""


_joined: WeakKeyDictionary[Connection, tuple[RootTransaction, Joined]] = WeakKeyDictionary()


def joined(sync: Connection) -> Joined | None:
    """What has joined the open transaction of this connection."""
    root, transaction = _joined.get(sync, (None, None))
    return transaction if root is not None and root is sync.get_transaction() else None


def listen(sync: Connection, transaction: Joined) -> None:
    """Tell `transaction` from now on."""
    root = sync.get_transaction()
    if root is None:
        message = "no open transaction"
        raise RuntimeError(message)
    _joined[sync] = (root, transaction)
    for target, name, function in (
        (sync, "commit", _before_commit),
        (sync, "rollback", _rolled_back),
        (sync, "begin", _begun),
        (sync, "before_cursor_execute", _before_statement),
        (sync.engine, "handle_error", _failed),
        (sync.engine, "checkin", _checked_in),
    ):
        if not event.contains(target, name, function):
            event.listen(target, name, function)


def _before_commit(sync: Connection) -> None:
    transaction = joined(sync)
    if transaction is None:
        return
    try:
        transaction.before_commit(sync)
    except BaseException as error:
        transaction.rolled_back()
        _abandon(sync, error)
        raise
    sync.info[KEY] = transaction


def _abandon(sync: Connection, error: BaseException) -> None:
    """Roll back by hand: SQLAlchemy takes a transaction whose commit() raised for one that is over.

    Without this the connection would go back to the pool with the transaction open.
    """
    if isinstance(error, Exception):
        with suppress(sync.dialect.loaded_dbapi.Error):
            sync.dialect.do_rollback(sync.connection)
            return
    sync.invalidate()


def _rolled_back(sync: Connection) -> None:
    if not sync.invalidated:
        sync.info.pop(KEY, None)
    transaction = joined(sync)
    if transaction is not None:
        transaction.rolled_back()


def _begun(sync: Connection) -> None:
    _settle(sync.info)


def _before_statement(sync: Connection, _cursor: object, statement: str, *_rest: object) -> None:
    transaction = joined(sync)
    if transaction is not None:
        transaction.before_statement(statement)


def _failed(context: ExceptionContext) -> None:
    sync = context.connection
    if sync is None or sync.invalidated or sync.closed:
        return
    transaction = sync.info.pop(KEY, None)
    if transaction is not None:
        transaction.rolled_back()


def _checked_in(dbapi_connection: object, record: Any) -> None:  # noqa: ANN401 - a pool's record
    if dbapi_connection is None:
        record.info.pop(KEY, None)
    else:
        _settle(record.info)


def _settle(info: dict[Any, Any]) -> None:
    transaction = info.pop(KEY, None)
    if transaction is not None:
        transaction.committed()
