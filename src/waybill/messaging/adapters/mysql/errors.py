"""What a failure of MariaDB or MySQL means for a unit of work (protocol C6), by its error number.

The number decides before the SQLSTATE: both servers give HY000 to errors of every kind.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncmy.errors import MySQLError

from waybill.messaging.core.errors import (
    DomainConstraintError,
    MessagingError,
    PermanentError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER_ERRORS = (MySQLError, OSError, TimeoutError, EOFError)
"""All that asyncmy raises for a database that refuses or is away."""

OWN_TABLES = "messaging_"
"""Our tables and their constraints begin so: broken, they are a fault of the set-up (C6)."""

DATA = frozenset({1264, 1265, 1292, 1366, 1367, 1406, 1411, 1416, 1690, 3140, 3141, 4038})
"""A value that its column cannot hold: SQLSTATE 22xxx, or what the servers call HY000 or 01000."""

TOO_LARGE = 1153
"""Above max_allowed_packet, which became smaller since the pool was opened: no outage (L4)."""

CONSTRAINTS = frozenset({1048, 1062, 1216, 1217, 1364, 1451, 1452, 1586, 1761, 1762, 3819, 4025})
"""Broken keys, NOT NULL and CHECK: SQLSTATE 23000, or HY000 (3819, 1364)."""

SERVER_WENT = frozenset({0, 1053, 1077, 1079, 1080, 1152, 1153, 1184, 1317, 1927, 4031})
"""The session ended, or its statement was ended from outside: COMMIT may have happened."""

CLIENT_ERRORS = range(2000, 3000)
"""Numbers that the driver gives: the connection broke."""

DATA_EXCEPTION = "22"


def translate(error: BaseException) -> MessagingError:
    """The messaging error that a driver's error stands for; all but data is an outage.

    Deadlocks (1213) and lock time-outs (1205) are transient: the whole unit runs again, whatever
    part of it the server took back (pitfalls B56, B57).
    """
    if isinstance(error, MessagingError):
        return error
    detail = str(error) or type(error).__name__
    if not isinstance(error, MySQLError):
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            return PermanentError(f"the driver cannot encode a value: {detail}")
        return TransientError(f"database: {detail}")
    number, sqlstate = errno(error), error.sqlstate or ""
    reason = f"database refused ({number}, {sqlstate or 'no SQLSTATE'}): {detail}"
    if number in DATA or number == TOO_LARGE or str(sqlstate).startswith(DATA_EXCEPTION):
        return PermanentError(reason)
    if number in CONSTRAINTS and not _names_our_own(detail):
        return DomainConstraintError(reason)
    return TransientError(reason)


def errno(error: MySQLError) -> int:
    """The server's or the driver's number; 0 if there is none."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def _names_our_own(detail: str) -> bool:
    """Whether the last quoted names (table, key, constraint) are of our schema."""
    names = re.findall(r"[`'.]([A-Za-z0-9_$]+)(?=[`'.])", detail.rpartition(" for ")[2] or detail)
    return any(name.startswith(OWN_TABLES) for name in names)


def outcome_is_unknown(error: BaseException) -> bool:
    """Whether a failed COMMIT may have happened: no answer, or the session was ended."""
    if not isinstance(error, MySQLError):
        return True
    number = errno(error)
    return number in SERVER_WENT or number in CLIENT_ERRORS


@contextmanager
def translated() -> Iterator[None]:
    """Raise a driver's error as what it means; anything else passes."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error) from error
