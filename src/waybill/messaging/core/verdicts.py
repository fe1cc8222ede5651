"""An operator's verdicts on dead letters and parked deliveries: each says who gave it and why.

The same on every engine; what differs is the text of the statements.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.messaging.core.dead_letter_row import to_dead_letter
from waybill.messaging.core.outbox_row import as_uuid
from waybill.messaging.core.ports import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.outcome import Delivered, Refused
    from waybill.messaging.core.ports import Database, Row

logger = logging.getLogger(__name__)

FOREVER_SECONDS = 1e9


class LetterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with what became of it."""

    id: UUID
    letter: DeadLetter
    verdict: str
    verdict_by: str | None
    verdict_reason: str | None
    verdict_at: datetime | None
    redrives: int
    created_at: datetime


class Judged(msgspec.Struct, frozen=True):
    """What a verdict on dead letters applied to, by message id."""

    done: tuple[UUID, ...]
    refused: dict[UUID, str]
    """Those that were left alone, with the reason."""


class ParkedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An outside call whose outcome an operator has to find out."""

    id: UUID
    kind: str
    key: str
    attempts: int
    reason: str | None
    cancelled: bool
    request: bytes
    correlation_id: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Statements:
    """What an engine says to list, lock and judge."""

    list_letters: str
    show_letter: str
    lock_letters: str
    judge_letters: str
    list_parked: str
    lock_parked: str
    judge_deliveries: str


class Verdicts:
    """See each method; every one may be repeated."""

    def __init__(self, statements: Statements) -> None:
        self._say = statements

    async def list_dead_letters(
        self,
        database: Database,
        *,
        consumer: str | None = None,
        verdict: str | None = "OPEN",
        limit: int = 100,
    ) -> list[LetterInfo]:
        """Dead letters, oldest first; of every verdict if it is None."""
        return [
            _letter(row)
            for row in await database.fetch(self._say.list_letters, consumer, verdict, limit)
        ]

    async def show_dead_letter(self, database: Database, message_id: UUID) -> list[LetterInfo]:
        """The letter of this message (or with this id of its own), one a consumer that failed."""
        return [_letter(row) for row in await database.fetch(self._say.show_letter, message_id)]

    async def redrive_dead_letters(
        self,
        database: Database,
        consumer: str,
        message_ids: Sequence[UUID],
        *,
        who: str,
        why: str,
        inbox_retention_seconds: float,
    ) -> Judged:
        """Have the consumer apply these, as if they came now.

        Leaves alone what is older than the inbox keeps ids: nothing could tell a repeat any more.
        """
        return await self._judge_letters(
            database, consumer, message_ids, "REDRIVE", who, why, inbox_retention_seconds
        )

    async def discard_dead_letters(
        self, database: Database, consumer: str, message_ids: Sequence[UUID], *, who: str, why: str
    ) -> Judged:
        """Never apply these, not even when their topic is read again."""
        return await self._judge_letters(
            database, consumer, message_ids, "DISCARDED", who, why, FOREVER_SECONDS
        )

    async def list_parked_deliveries(
        self, database: Database, *, kind: str | None = None, limit: int = 100
    ) -> list[ParkedDelivery]:
        """Deliveries that wait for an operator."""
        rows = await database.fetch(self._say.list_parked, kind, limit)
        return [
            msgspec.structs.replace(
                ParkedDelivery(**{name: row[name] for name in ParkedDelivery.__struct_fields__}),
                id=as_uuid(row["id"]),
                cancelled=bool(row["cancelled"]),
            )
            for row in rows
        ]

    async def judge_parked_deliveries(
        self,
        database: Database,
        ids: Sequence[UUID],
        verdict: Delivered | Refused | None,
        *,
        who: str,
        why: str,
    ) -> set[UUID]:
        """Settle them so at the deliverer's next turn, or (None) ask and try again. Those."""
        _check_reasons(who, why)
        encoded = None if verdict is None else msgspec.json.encode(verdict)
        async with database.transaction() as transaction:
            rows = await transaction.fetch(self._say.lock_parked, sorted(set(ids)))
            judged = {as_uuid(row[0]) for row in rows}
            if judged:
                await transaction.execute(
                    self._say.judge_deliveries, sorted(judged), encoded, who, why
                )
        word = "RETRY" if verdict is None else type(verdict).__name__.upper()
        for id_ in sorted(judged):
            logger.warning("verdict %s on delivery %s by %s: %s", word, id_, who, why)
        return judged

    async def _judge_letters(  # noqa: PLR0917 - private, one place calls it by position twice
        self,
        database: Database,
        consumer: str,
        message_ids: Sequence[UUID],
        verdict: str,
        who: str,
        why: str,
        age_seconds_max: float,
    ) -> Judged:
        _check_reasons(who, why)
        wanted = sorted(set(message_ids))
        async with database.transaction() as transaction:
            rows = await transaction.fetch(
                self._say.lock_letters, consumer, wanted, ceil(age_seconds_max)
            )
            refused = dict.fromkeys(wanted, f"{consumer} has no such dead letter")
            done = []
            for row in rows:
                message_id = as_uuid(row["message_id"])
                reason = _refusal(row["verdict"], too_old=bool(row["too_old"]))
                if reason is None:
                    refused.pop(message_id)
                    done.append(message_id)
                else:
                    refused[message_id] = reason
            if done:
                await transaction.execute(
                    self._say.judge_letters, consumer, done, verdict, who, why
                )
        for message_id in done:
            logger.warning("verdict %s on dead letter %s by %s: %s", verdict, message_id, who, why)
        return Judged(tuple(done), refused)


def _refusal(verdict: str, *, too_old: bool) -> str | None:
    if verdict in {"REDRIVEN", "DISCARDED"}:
        return f"it is {verdict} already"
    if too_old:
        return "it is older than the inbox keeps ids, so a repeat could not be told: discard it"
    return None


def _check_reasons(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise ValueError("a verdict needs who gives it and why")


def _letter(row: Row) -> LetterInfo:
    return LetterInfo(
        id=as_uuid(row["id"]),
        letter=to_dead_letter(row),
        verdict=row["verdict"],
        verdict_by=row["verdict_by"],
        verdict_reason=row["verdict_reason"],
        verdict_at=row["verdict_at"],
        redrives=row["redrives"],
        created_at=row["created_at"],
    )
