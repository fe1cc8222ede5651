"""The intake behind a cache of its answers: a repeated request may be answered without a database.

Only what was committed is remembered, after its commit; whatever the cache does not answer goes to
the intake, which alone decides (P5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from waybill.commerce.caching.idempotency import Asked
from waybill.commerce.orders.request import KEYLESS, Placed

if TYPE_CHECKING:
    from waybill.commerce.caching.idempotency import IdempotencyCache
    from waybill.commerce.orders.api import Intake
    from waybill.commerce.orders.request import Outcome, PlaceOrder

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Placed).decode


class RememberedIntake:
    """An `Intake`."""

    def __init__(self, intake: Intake, answers: IdempotencyCache) -> None:
        self._intake = intake
        self._answers = answers

    def admit(self) -> None:
        """See Intake."""
        self._intake.admit()

    async def place(self, request: PlaceOrder) -> Outcome:
        """See Intake."""
        if request.key.startswith(KEYLESS):
            return await self._intake.place(request)
        asked = Asked(request.scope, request.route, request.key, request.fingerprint)
        first = await self._first_answer(asked)
        if first is not None:
            return msgspec.structs.replace(first, replayed=True)
        outcome = await self._intake.place(request)
        if isinstance(outcome, Placed):
            self._answers.remember(asked, _encode(outcome))
        return outcome

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        """See Intake."""
        return await self._intake.placed_before(route, key, request_hash)

    async def _first_answer(self, asked: Asked) -> Placed | None:
        found = await self._answers.answer(asked)
        if found is None:
            return None
        try:
            return _decode(found)
        except msgspec.MsgspecError:  # another release wrote it
            return None
