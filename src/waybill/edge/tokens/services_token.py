"""The token that our own services show one another: a shared secret, no signed claims.

It is made with the data (or given as SERVICES_TOKEN), stands for an operator, and is compared in
constant time. It never leaves this platform: only addresses from its settings are called with it.
"""

from __future__ import annotations

import hmac
import math
from typing import TYPE_CHECKING, Final

from waybill.commerce.http.caller import OPERATOR, Caller

if TYPE_CHECKING:
    from waybill.edge.tokens.bearer import Verifier

SERVICES: Final = Caller("waybill-services", frozenset((OPERATOR,)), math.inf)


class WithServicesToken:
    """A `Verifier` of two kinds of tokens: ours among services, and those of another verifier."""

    def __init__(self, verifier: Verifier, secret: str) -> None:
        self._verifier = verifier
        self._secret = secret.encode()

    async def verify(self, token: bytes) -> Caller:
        """See Verifier."""
        if hmac.compare_digest(token, self._secret):
            return SERVICES
        return await self._verifier.verify(token)
