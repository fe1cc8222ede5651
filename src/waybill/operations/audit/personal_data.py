"""Personal data: event payloads hold references, never an address, a card number or a token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waybill.operations.audit.outbox import MESSAGING
from waybill.operations.audit.rule import Books, Kind, Rule, statement

if TYPE_CHECKING:
    from collections.abc import Iterable

# `encode` takes any bytes; OFFSET 0 keeps it from being worked out once a pattern, and "C" from
# asking the locale about every letter. A run of digits counts only if it is no part of a UUID or of
# a decimal number; 13 to 19 of them are a card's (ISO/IEC 7812).
_FOUND = r"""
SELECT seq, lane, event_id, type, key, what FROM (
    SELECT *, CASE
        WHEN text LIKE '%@%' AND text ~ '[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2}'
            THEN 'e-mail address'
        WHEN text LIKE '%eyJ%' AND text ~ 'eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}' THEN 'token'
        WHEN text LIKE '%Bearer %' THEN 'token'
        WHEN text ~ '[0-9]{13}' AND text ~ '[^0-9A-Za-z.-][0-9]{13,19}[^0-9A-Za-z.-]'
            THEN 'card number'
        WHEN text ~ '[^0-9A-Za-z.-][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,7}[^0-9A-Za-z.-]'
            THEN 'card number'
        END AS what
    FROM (
        SELECT seq, lane, id AS event_id, type, aggregateid AS key,
               (regexp_replace(encode(payload, 'escape'), $1, '', 'g') || headers) COLLATE "C"
                   AS text
        FROM messaging.outbox WHERE lane < 16 OFFSET 0
    ) AS texts
) AS judged WHERE what IS NOT NULL ORDER BY seq
"""


def _documented(books: Books, _database: str) -> Iterable[object]:
    """The members that a document puts personal data into, on purpose (contracts C38)."""
    members = "|".join(re.escape(name) for name in books.scope.blueprint.personal) or "(?!)"
    return [rf'"({members})"\s*:\s*"[^"]*"']


RULES = (
    Rule(
        id="I45",
        kind=Kind.ALWAYS,
        title="no e-mail address, card number or token in event payloads",
        looks=dict.fromkeys(MESSAGING, statement(_FOUND, _documented)),
        look_at='waybill psql {database} -c "SELECT * FROM messaging.outbox WHERE seq = {seq}"',
    ),
)
