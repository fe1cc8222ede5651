"""Whom a name stands for: a customer's id, the address of an account, or a document's user id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from waybill.commerce.http.caller import customer_of
from waybill.commerce.sku import made_id
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.messaging.core.ports import Database

ACCOUNTS: Final = "accounts"
ORDER: Final = "order"
NAME_LENGTH_MAX: Final = 254
_ACCOUNT: Final = "SELECT id FROM private.accounts WHERE lower(email) = $1"
_ORDERS: Final = "SELECT id FROM app.orders WHERE customer_id = ANY($1) ORDER BY id"


@dataclass(frozen=True)
class Customer:
    """`ids` stand in orders and accounts, `names` in contacts; `orders` are theirs."""

    asked: str
    ids: tuple[UUID, ...]
    names: tuple[str, ...]
    orders: tuple[UUID, ...] = ()


async def found(asked: str, databases: Mapping[str, Database]) -> Customer:
    """The customer of this name, with all their orders. Raises ConfigurationError for no name."""
    text = asked.strip()
    if not text or len(text) > NAME_LENGTH_MAX or not text.isprintable():
        raise ConfigurationError("a customer is an id, an e-mail address or a user id")
    ids, names = {*_ids(text)}, {text}
    if "@" in text and ACCOUNTS in databases:
        rows = await databases[ACCOUNTS].fetch(_ACCOUNT, text.lower())
        ids |= {row["id"] for row in rows}
    names |= {str(each) for each in ids}
    orders = await databases[ORDER].fetch(_ORDERS, sorted(ids))
    return Customer(text, tuple(sorted(ids)), tuple(sorted(names)), tuple(r["id"] for r in orders))


def _ids(text: str) -> tuple[UUID, ...]:
    """What orders call them: an id is itself, documents make one of an address or a user id."""
    try:
        return (UUID(text),)
    except ValueError:
        pass
    if "@" in text:
        return (made_id("customer", text.lower()),)
    return customer_of(text), made_id("user", text)
