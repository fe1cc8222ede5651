"""A payment provider that listens: the contract of docs/library/payment-provider.md, in memory.

It honours keys for ever, keeps its own books, signs webhooks, and misbehaves as TryServer does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from waybill.commerce.testing.http_server import Asked, Reply, TryServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

CHARGES, REFUNDS = "/charges", "/refunds"


class Movement(msgspec.Struct, frozen=True):
    """A charge or a refund in the books, as it is shown."""

    id: str
    status: str
    amount: Decimal
    currency: str
    reason: str = ""


class _Wanted(msgspec.Struct, frozen=True, rename="camel"):
    amount: Decimal
    currency: str
    order_id: str = ""
    charge_key: str = ""


_wanted = msgspec.json.Decoder(_Wanted).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


class ProviderServer(TryServer):
    """The provider. It declines the orders of `declines`, and keeps those of `pends` waiting."""

    def __init__(self, *, new_id: Callable[[], UUID], token: str = "") -> None:
        super().__init__()
        self.charges: dict[str, Movement] = {}
        self.refunds: dict[str, Movement] = {}
        self.declines: set[str] = set()
        self.pends: set[str] = set()
        self._refunded_charges: set[str] = set()
        self._new_id = new_id
        self._token = token

    @property
    def captured(self) -> int:
        """How many charges took money."""
        return sum(each.status == "captured" for each in self.charges.values())

    def decide(self, key: str, status: str, reason: str = "") -> None:
        """A charge that was pending ends."""
        pending = self.charges[key]
        self.charges[key] = msgspec.structs.replace(pending, status=status, reason=reason)

    def webhook(self, kind: str, key: str) -> bytes:
        """The body of the webhook that tells of a `charge` or a `refund`, to be signed."""
        movement = (self.charges if kind == "charge" else self.refunds)[key]
        data = {"key": key, **msgspec.structs.asdict(movement)}
        return _encode({"type": f"{kind}.settled", "data": data})

    def reply(self, asked: Asked) -> Reply:
        """See TryServer."""
        if self._token and asked.headers.get("authorization") != f"Bearer {self._token}":
            return _complaint(401, "unauthorized", "A bearer token is needed")
        if asked.method == "GET":
            return self._show(asked.path)
        key = asked.headers.get("idempotency-key", "")
        if asked.method != "POST" or asked.path not in {CHARGES, REFUNDS}:
            return _complaint(405, "method_not_allowed", "POST to /charges or /refunds")
        try:
            wanted = _wanted(asked.body)
        except msgspec.MsgspecError as error:
            return _complaint(400, "invalid_request", str(error))
        if not key:
            return _complaint(400, "invalid_request", "Idempotency-Key is missing")
        return self._charge(key, wanted) if asked.path == CHARGES else self._refund(key, wanted)

    def _show(self, path: str) -> Reply:
        folder, _, key = path.rpartition("/")
        found = {CHARGES: self.charges, REFUNDS: self.refunds}.get(folder, {}).get(unquote(key))
        if found is None:
            return _complaint(404, "not_found", "No request came under this key")
        return _shown(found)

    def _charge(self, key: str, wanted: _Wanted) -> Reply:
        status, reason = "captured", ""
        if wanted.order_id in self.declines:
            status, reason = "declined", "Insufficient funds"
        elif wanted.order_id in self.pends:
            status = "pending"
        return self._kept(self.charges, key, wanted, status, reason)

    def _refund(self, key: str, wanted: _Wanted) -> Reply:
        if key not in self.refunds:
            charge = self.charges.get(wanted.charge_key)
            if (
                charge is None
                or charge.status != "captured"
                or wanted.charge_key in self._refunded_charges
                or (charge.amount < wanted.amount or charge.currency != wanted.currency)
            ):
                return _complaint(422, "nothing_to_refund", "Nothing was captured to give back")
            self._refunded_charges.add(wanted.charge_key)
        return self._kept(self.refunds, key, wanted, "refunded")

    def _kept(
        self,
        books: dict[str, Movement],
        key: str,
        wanted: _Wanted,
        status: str,
        reason: str = "",
    ) -> Reply:
        new = Movement(str(self._new_id()), status, wanted.amount, wanted.currency, reason)
        movement = books.setdefault(key, new)
        if (movement.amount, movement.currency) != (wanted.amount, wanted.currency):
            return _complaint(422, "idempotency_key_reused", "The key belongs to another amount")
        return _shown(movement)


def _shown(movement: Movement) -> Reply:
    return Reply(202 if movement.status == "pending" else 200, _encode(movement))


def _complaint(status: int, code: str, detail: str) -> Reply:
    return Reply(status, _encode({"code": code, "detail": detail}))
