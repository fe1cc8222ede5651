"""What of the order service's HTTP a document decides; by default seed 003 (contracts 1.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from waybill.commerce.http.caller import customer_of
from waybill.commerce.orders.documentation import GET_ORDER, PLACE_ORDER, OrderRequest
from waybill.commerce.orders.request import OrderContent, parse_order
from waybill.commerce.orders.views import OrderPage, OrderView, TimelineEntry

if TYPE_CHECKING:
    from uuid import UUID

    import msgspec


class Shown(Protocol):
    """An order as HTTP shows it: a struct with the order's id, under whatever name on the wire."""

    @property
    def id(self) -> UUID:
        """The order's."""


Show = Callable[[OrderView, bytes | None], Shown]
"""What an answer says of an order; beside it, what the blueprint kept of the request."""


ShowWay = Callable[[OrderView, bytes | None, Sequence[TimelineEntry], str | None], Shown]
"""The same, with its way, oldest entry first, and with the reason code of one that failed."""


def as_it_is(order: OrderView, _particulars: bytes | None) -> Shown:
    """Seed 003 shows every order whole."""
    return order


@dataclass(frozen=True, kw_only=True)
class OrderContract:
    """How orders come in and are shown.

    `parse` raises Problem 400 with everything that is wrong with a body. `placed` is the first
    answer, which every replay repeats; `show` what GET and cancel answer.
    """

    path: str = "/api/orders"
    """All routes of the service stand below it."""
    aliases: tuple[str, ...] = ()
    """Where POST of an order and GET of one answer, too; a key is the same key there."""
    id_prefix: str = ""
    """What may stand before an order's id in a path."""
    parse: Callable[[bytes], OrderContent] = parse_order
    placed: Show = as_it_is
    show: Show = as_it_is
    show_way: ShowWay | None = None
    """What GET of one order shows, where that has its timeline; None: as `show`."""
    placed_status: int = 201
    refuses_replays: bool = False
    """Whether a used key is refused whatever the payload, with the first order's id (C5)."""
    cancellable: bool = True
    """Whether there is a route for the customer's cancel."""
    cancel_status: int = 200
    statuses: tuple[str, ...] = ("PENDING", "STOCK_RESERVED", "CONFIRMED", "CANCELLED")
    key_required: bool = True
    customer_of: Callable[[str], UUID] | None = customer_of
    """The customer's id in an order whose body names this token's subject, as it must (C37).

    None: bodies name no customer by an id.
    """
    client_correlates: bool = False
    """Whether a client's X-Correlation-Id is that of all that its order or cancel leads to.

    Else that is the order's id.
    """
    key_reused_status: int = 409
    """What another payload under a used key is answered with (C34)."""
    place_operation: Mapping[str, Any] = field(default_factory=lambda: PLACE_ORDER)
    get_operation: Mapping[str, Any] = field(default_factory=lambda: GET_ORDER)
    view: type[msgspec.Struct] = OrderView
    page: type[msgspec.Struct] = OrderPage
    structs: Sequence[type[msgspec.Struct]] = (OrderRequest, OrderView, OrderPage)


SEED_003 = OrderContract()
