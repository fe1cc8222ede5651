"""What stands around a platform of `checkout`: a payment provider, and the way to its payments."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import msgspec

from waybill.commerce.testing.gate import Gate
from waybill.commerce.testing.provider_server import CHARGES, ProviderServer
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from waybill.commerce.testing.http_server import Asked, Reply

DECLINED, PENDED = Decimal("13.13"), Decimal("17.17")
"""What an order costs that the provider declines, and one that it keeps waiting."""


class Provider(ProviderServer):
    """Decides by the amount, so that a test need not know an order's id before it is placed."""

    def reply(self, asked: Asked) -> Reply:
        """See TryServer."""
        if asked.method == "POST" and asked.path == CHARGES:
            wanted = msgspec.json.decode(asked.body)
            amount = Decimal(str(wanted["amount"]))
            if amount == DECLINED:
                self.declines.add(wanted["orderId"])
            elif amount == PENDED:
                self.pends.add(wanted["orderId"])
        return super().reply(asked)


class Surroundings:
    """Provider and gate, on an event loop in a thread of their own."""

    def __init__(self, *, token: str) -> None:
        self.provider = Provider(new_id=new_id, token=token)
        self.gate = Gate()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def do(self, what: Coroutine[Any, Any, None]) -> None:
        """Run it there, to its end."""
        asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=20)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.provider.start())
        self.do(self.gate.open())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self.gate.shut())
        self.do(self.provider.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=20)
        self._loop.close()
