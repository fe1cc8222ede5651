"""What a Transaction does where nothing rides on another statement: everything runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.messaging.core.ports import Row


class _Fetching(Protocol):
    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]: ...


class RunsAtOnce:
    """The half of a Transaction adapter that saves round trips, for one that has none to save."""

    __slots__ = ()

    async def fetch_last(self: _Fetching, statement: str, *arguments: object) -> Sequence[Row]:
        """See Transaction.fetch_last: COMMIT is a statement of its own."""
        return await self.fetch(statement, *arguments)

    async def fetch_later(
        self: _Fetching,
        statement: str,
        *arguments: object,
        then: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        """See Transaction.fetch_later."""
        then(await self.fetch(statement, *arguments))

    async def execute_ahead(
        self: _Fetching, statement: str, *arguments: object, then: Callable[[], None] = lambda: None
    ) -> None:
        """See Transaction.execute_ahead."""
        await self.fetch(statement, *arguments)
        then()

    async def settle(self) -> None:
        """See Transaction.settle: nothing waits here."""
