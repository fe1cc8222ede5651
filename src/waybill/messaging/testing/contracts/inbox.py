"""What every Inbox must do: a message's effects happen once a consumer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Protocol

import pytest

from waybill.messaging.core.identity import UuidFactory

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Inbox

FEW_SECONDS = 10.0
CONSUMER = "billing"
Verdict = Literal["OPEN", "REDRIVE", "REDRIVEN", "DISCARDED"]


class Letters(Protocol):
    """Puts a dead letter with a verdict where the inbox looks for it."""

    async def __call__(self, consumer: str, message_id: UUID, verdict: Verdict) -> None:
        """Store one."""


class InboxContract:
    """Fixtures to give: `database`, `inbox` (an Inbox on it), `letters` (a Letters)."""

    new_id = staticmethod(UuidFactory())

    async def _claim(self, database: Database, inbox: Inbox, *ids: UUID) -> set[UUID]:
        async with database.transaction() as transaction:
            return await inbox.claim(transaction, CONSUMER, ids)

    async def test_first_claim_wins_all(self, database: Database, inbox: Inbox) -> None:
        """New ids are granted, known ones are not (protocol C1)."""
        one, two, three = self.new_id(), self.new_id(), self.new_id()
        assert await self._claim(database, inbox, two, one) == {one, two}
        assert await self._claim(database, inbox, one, three) == {three}

    async def test_nothing_to_claim(self, database: Database, inbox: Inbox) -> None:
        """No ids, no grants."""
        assert await self._claim(database, inbox) == set()

    async def test_consumers_are_apart(self, database: Database, inbox: Inbox) -> None:
        """Each consumer applies a message once."""
        one = self.new_id()
        assert await self._claim(database, inbox, one) == {one}
        async with database.transaction() as transaction:
            assert await inbox.claim(transaction, "shipping", [one]) == {one}

    async def test_rollback_returns_the_claim(self, database: Database, inbox: Inbox) -> None:
        """A unit that rolled back may be tried again: the inbox row falls with the effects."""
        one = self.new_id()
        with pytest.raises(LookupError):
            async with database.transaction() as transaction:
                assert await inbox.claim(transaction, CONSUMER, [one]) == {one}
                raise LookupError
        assert await self._claim(database, inbox, one) == {one}

    @pytest.mark.parametrize("first_commits", [True, False])
    async def test_two_units_claim_one_message(
        self, database: Database, inbox: Inbox, *, first_commits: bool
    ) -> None:
        """Pitfall B29: the second unit waits for the first, and gets what that one gave up."""
        one = self.new_id()
        claimed, go_on = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with database.transaction() as transaction:
                await inbox.claim(transaction, CONSUMER, [one])
                claimed.set()
                await go_on.wait()
                if not first_commits:
                    raise LookupError

        async with asyncio.timeout(FEW_SECONDS):
            holder = asyncio.ensure_future(first())
            await claimed.wait()
            waiter = asyncio.ensure_future(self._claim(database, inbox, one))
            done, _ = await asyncio.wait([waiter], timeout=0.1)
            assert not done
            go_on.set()
            await asyncio.wait([holder])
            assert await waiter == (set() if first_commits else {one})
        assert isinstance(holder.exception(), LookupError) is not first_commits

    async def test_opposite_orders_do_not_deadlock(self, database: Database, inbox: Inbox) -> None:
        """Protocol C3: ids are locked in one global order, whatever order they come in."""
        ids = [self.new_id() for _ in range(40)]
        async with asyncio.timeout(FEW_SECONDS):
            grants = await asyncio.gather(
                *(self._claim(database, inbox, *ids[:: 1 if n % 2 else -1]) for n in range(6))
            )
        assert sorted(map(len, grants)) == [0, 0, 0, 0, 0, 40]

    async def test_verdicts_decide(
        self, database: Database, inbox: Inbox, letters: Letters
    ) -> None:
        """Protocol C5: open and discarded dead letters are passed over, a redrive is granted."""
        verdicts: dict[Verdict, UUID] = {
            verdict: self.new_id() for verdict in ("OPEN", "REDRIVE", "REDRIVEN", "DISCARDED")
        }
        for verdict, message_id in verdicts.items():
            await letters(CONSUMER, message_id, verdict)
        other = self.new_id()
        await letters("shipping", other, "OPEN")
        granted = await self._claim(database, inbox, *verdicts.values(), other)
        assert granted == {verdicts["REDRIVE"], verdicts["REDRIVEN"], other}
