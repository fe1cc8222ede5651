"""What a failure of PostgreSQL means for a unit of work (protocol C6): pure data, no driver.

Works on the attributes that drivers give (`sqlstate`, `constraint_name`, `schema_name`,
`column_name`), so that every adapter on PostgreSQL answers alike.
"""

from __future__ import annotations

from waybill.messaging.core.errors import (
    ClaimRefusedError,
    DomainConstraintError,
    MessagingError,
    PermanentError,
    TransientError,
)

OWN_SCHEMA = "messaging"
"""A broken constraint of our own tables is a fault of the set-up, never of a message."""

DATA_EXCEPTION = "22"
INTEGRITY_VIOLATION = "23"
LIMIT_EXCEEDED = "54000"
INDEX_FUNCTIONS = frozenset(
    {"_bt_check_third_page", "index_form_tuple", "index_form_tuple_context"}
)
"""Of the server's source, which say with 54000 that a value is too long for an index. A server that
has no transaction ids left gives 54000 as well."""

CLAIM_REFUSED = "WBC01"
"""Raised by `messaging.require_claim`; class WB is nobody else's."""


def translate(error: BaseException) -> MessagingError:
    """The messaging error that a driver's error stands for.

    Permanent: SQLSTATE 22xxx, a value too long for an index (54000), and one that the driver could
    not even encode (a ValueError without an SQLSTATE). 23xxx that names a constraint, or the column
    of a NOT NULL, of the user's own tables: DomainConstraintError. Everything else is an outage: a
    missing partition (23514 without a name), 08, 0A, 25, 40, 42, 53, 55, 57, a socket's error, a
    timeout.
    """
    if isinstance(error, MessagingError):
        return error
    sqlstate = getattr(error, "sqlstate", None)
    detail = str(error) or type(error).__name__
    if sqlstate is None:
        # A certificate that cannot be verified is a ValueError, too: no message is the reason.
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            return PermanentError(f"the driver cannot encode a value: {detail}")
        return TransientError(f"database: {detail}")
    if sqlstate == CLAIM_REFUSED:
        return ClaimRefusedError(detail)
    return _refusal(sqlstate, error, f"database refused ({sqlstate}): {detail}")


def _refusal(sqlstate: str, error: BaseException, reason: str) -> MessagingError:
    source_function = getattr(error, "server_source_function", None)
    if sqlstate == LIMIT_EXCEEDED and source_function in INDEX_FUNCTIONS:
        return PermanentError(reason)
    if sqlstate.startswith(DATA_EXCEPTION):
        return PermanentError(reason)
    if sqlstate.startswith(INTEGRITY_VIOLATION) and _names_a_domain_constraint(error):
        return DomainConstraintError(reason, detail=getattr(error, "detail", None) or "")
    return TransientError(reason)


def _names_a_domain_constraint(error: BaseException) -> bool:
    if getattr(error, "schema_name", None) == OWN_SCHEMA:
        return False
    return bool(getattr(error, "constraint_name", None) or getattr(error, "column_name", None))


def outcome_is_unknown(error: BaseException) -> bool:
    """Whether a failed COMMIT may have happened: no answer, or the server went down meanwhile."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate is None or sqlstate.startswith(("08", "57P"))
