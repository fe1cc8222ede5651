"""Every rule, in the order of its number."""

from __future__ import annotations

from waybill.operations.audit import (
    consumers,
    dead_letters,
    idempotency,
    money,
    notifications,
    orders,
    outbox,
    personal_data,
    replies,
    stock,
    telling,
    topics,
)

_SUBJECTS = (
    orders,
    idempotency,
    outbox,
    topics,
    telling,
    consumers,
    dead_letters,
    stock,
    money,
    notifications,
    personal_data,
    replies,
)

RULES = tuple(sorted((rule for each in _SUBJECTS for rule in each.RULES), key=lambda r: r.id))
