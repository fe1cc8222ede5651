"""The inbox in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.memory.database import in_memory
from waybill.messaging.adapters.memory.dead_letters import DEAD_LETTERS, DeadLetterRow, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Transaction

INBOX = "inbox"


class MemoryInbox:
    """Implements `Inbox`: rows `(consumer, message id)` of the transaction's own database."""

    async def claim(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> set[UUID]:
        """See Inbox."""
        memory = in_memory(transaction)
        claimed = set()
        for message_id in sorted(message_ids):
            key = (consumer, message_id)
            await memory.lock(INBOX, key)
            letter: DeadLetterRow | None = memory.get(DEAD_LETTERS, key)
            if letter is not None and letter.verdict in (Verdict.OPEN, Verdict.DISCARDED):
                continue
            if memory.get(INBOX, key) is None:
                await memory.put(INBOX, key, True)  # noqa: FBT003 - a row without columns
                claimed.add(message_id)
        return claimed
