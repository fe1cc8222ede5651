"""What a key was answered with, where that waits for a call: decided once, in the order's row.

By the call's outcome; or, with 202, by the request that placed the order, where that had to be
answered before it was there. A replay decides nothing (protocol M9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.errors import OutcomeUnknownError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction

_DECIDE = """
UPDATE app.orders o SET answer = u.answer, response = u.response
FROM unnest($1::uuid[], $2::smallint[], $3::bytea[]) AS u (id, answer, response)
WHERE o.id = u.id AND o.id = ANY($1::uuid[]) AND o.answer IS NULL
"""
_DECIDED = "SELECT answer, response FROM app.orders WHERE id = $1 AND answer IS NOT NULL"
_SO_FAR = "SELECT coalesce(answer, 202) AS answer, response FROM app.orders WHERE id = $1"
_ANSWER_BEFORE = """
UPDATE app.orders SET answer = 202 WHERE id = $1 AND answer IS NULL RETURNING answer, response
"""


class Answer(msgspec.Struct, frozen=True):
    """A status and a body."""

    status: int
    body: bytes


async def decide(transaction: Transaction, answers: Sequence[tuple[UUID, Answer]]) -> None:
    """Keep these for orders that are locked, unless they were answered before."""
    await transaction.fetch_later(
        _DECIDE,
        [order_id for order_id, _ in answers],
        [answer.status for _, answer in answers],
        [answer.body for _, answer in answers],
    )


async def so_far(database: Database, order_id: UUID) -> Answer:
    """What a replay is told: the answer if it is decided, else 202, which decides nothing.

    Raises OutcomeUnknownError: the order is placed, and the same key finds the answer.
    """
    try:
        rows = await database.fetch(_SO_FAR, order_id)
    except TransientError as error:
        raise _unknown(order_id, error) from error
    return _answer(rows[0])


async def answer_of(database: Database, order_id: UUID) -> Answer:
    """What the request that placed this order is told. Not decided yet: 202 from now on, for all.

    Raises OutcomeUnknownError: the order is placed, and the same key finds the answer.
    """
    try:
        rows = await database.fetch(_DECIDED, order_id)
        if not rows:
            async with database.transaction() as transaction:
                rows = await transaction.fetch(_ANSWER_BEFORE, order_id)
        if not rows:  # it was decided between the two
            rows = await database.fetch(_DECIDED, order_id)
    except TransientError as error:
        raise _unknown(order_id, error) from error
    return _answer(rows[0])


def _unknown(order_id: UUID, error: TransientError) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"order {order_id} is placed: {error}")


def _answer(row: Row) -> Answer:
    return Answer(row["answer"], row["response"])
