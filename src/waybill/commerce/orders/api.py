"""HTTP of the order service: seed 003's contract (contracts.md 1.2) and what users need besides.

Placing an order and looking at one are hot routes: raw ASGI, no validation framework; placing is
admitted before the body is read. The rest are ordinary FastAPI routes.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)

from waybill.commerce.http.body import read_body
from waybill.commerce.http.caller import caller_of, owner_of
from waybill.commerce.http.negotiation import idempotency_key, require_json_content
from waybill.commerce.http.paging import (
    CURSOR_PATTERN,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    cut_page,
    decode_cursor,
    link_next,
)
from waybill.commerce.http.problem import FieldError, Problem, invalid, not_found
from waybill.commerce.http.surface import (
    HotRoute,
    Surface,
    answers,
    encoded,
    json_answer,
    refuses,
    send_json,
)
from waybill.commerce.http.trace import traceparent_of
from waybill.commerce.orders.contract import SEED_003, OrderContract, Shown
from waybill.commerce.orders.request import (
    KEYLESS,
    KeyReused,
    NotTaken,
    OrderContent,
    Outcome,
    Placed,
    PlaceOrder,
    fingerprint,
)
from waybill.commerce.orders.views import Timeline, TimelineEntry

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

ACCEPTED = 202
_ANONYMOUS = ""
"""The caller while there are no tokens: one scope for all (C37)."""


_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CORRELATION = re.compile("[!-~]{1,64}")
"""What of a client goes into logs and headers; anything else counts as nothing."""
_ANY_UUID = TypeAdapter(UUID)


class NotCancellable(msgspec.Struct, frozen=True):
    """The order ended before the request came: it stays as it is."""

    status: str


class Intake(Protocol):
    """Where new orders go in."""

    def admit(self) -> None:
        """Raise OverloadedError if a new order would have to wait too long (protocol I5).

        Called before a byte of the body is read; cheap; may let through what `place` refuses.
        """

    async def place(self, request: PlaceOrder) -> Outcome:
        """Store the order, or find the one that this key placed. Returns after the commit.

        Raises OverloadedError and TransientError (nothing was done), OutcomeUnknownError (it may
        have been: the same key finds out). May be cancelled; the order may then still be placed.
        """

    async def placed_before(self, route: str, key: str, request_hash: str) -> Placed | None:
        """What this key placed while there were no tokens, if it was this very request."""


class OrderReads(Protocol):
    """What GET shows. Every method may raise TransientError.

    With an `owner` an order of anybody else is none.
    """

    async def order(self, order_id: UUID, *, owner: UUID | None = None) -> Shown | None:
        """The order as it stands, with its lines as they were sent; None if there is none."""

    async def orders(
        self, *, customer_id: UUID | None, status: str | None, before: UUID | None, limit: int
    ) -> Sequence[Shown]:
        """At most `limit` orders by descending id (newest first), of ids below `before`."""

    async def timeline(
        self, order_id: UUID, *, owner: UUID | None = None
    ) -> Sequence[TimelineEntry] | None:
        """Its way, oldest first; None if there is no such order."""


class Cancellations(Protocol):
    """Where customers cancel."""

    async def cancel(
        self,
        order_id: UUID,
        *,
        traceparent: str,
        correlation_id: str | None = None,
        owner: UUID | None = None,
    ) -> Shown | NotCancellable | None:
        """Keep the request as a fact (C33) and show the order as it then stands.

        What it leads to has this correlation id; None: the order's id.
        None: no such order, or with an `owner` somebody else's. May be repeated.
        Raises TransientError, OutcomeUnknownError.
        """


class OrderQuery(BaseModel):
    """Parameters of the list; an unknown one is refused, so that a misspelt filter shows."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Annotated[UUID | None, Field(alias="customerId")] = None
    status: str | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str | None, Field(pattern=CURSOR_PATTERN)] = None


class OrderPlacement:
    """POST of an order as a plain ASGI application (design: the hot path)."""

    def __init__(self, intake: Intake, contract: OrderContract) -> None:
        self._intake = intake
        self._contract = contract
        self._route = f"POST {contract.path}"

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request. Checks run in the documented order: body before key."""
        self._intake.admit()
        headers = dict(scope["headers"])
        require_json_content(headers.get(b"content-type"))
        asked = self._contract.parse(await read_body(receive, headers.get(b"content-length")))
        key = self._key([v for name, v in scope["headers"] if name == b"idempotency-key"])
        order, subject = self._owned(asked, scope)
        before = None
        if subject != _ANONYMOUS:
            # Turning tokens on must not make a second order of an old retry.
            before = await self._intake.placed_before(self._route, key, fingerprint(asked))
        outcome: Outcome = before or await self._intake.place(
            PlaceOrder(
                scope=subject,
                route=self._route,
                key=key,
                fingerprint=fingerprint(order),
                customer_id=order.customer_id,
                currency=order.currency,
                items=order.items,
                total_amount=order.total_amount,
                traceparent=traceparent_of(scope),
                particulars=order.particulars,
                correlation_id=_correlation_id(
                    self._contract, headers.get(b"x-correlation-id", b"").decode("latin-1")
                ),
            )
        )
        if isinstance(outcome, KeyReused):
            raise Problem(
                self._contract.key_reused_status,
                "idempotency_key_reused",
                "This Idempotency-Key was used with another payload",
                order_id=self._first(outcome),
            )
        if isinstance(outcome, NotTaken):
            raise Problem(outcome.status, outcome.code, outcome.detail, errors=outcome.errors)
        if outcome.replayed and self._contract.refuses_replays:
            raise Problem(
                self._contract.key_reused_status,
                "idempotency_key_reused",
                "This Idempotency-Key has placed an order already",
                order_id=self._first(outcome),
            )
        replayed = [(b"idempotent-replayed", b"true")] if outcome.replayed else []
        if outcome.status is None:
            status = 200 if outcome.replayed else self._contract.placed_status
            await send_json(send, outcome.body, status, *replayed)
        elif outcome.status == ACCEPTED:
            location = f"{self._contract.path}/{outcome.order_id}".encode()
            await send_json(send, outcome.body, ACCEPTED, (b"location", location), *replayed)
        else:
            await send_json(send, outcome.body, outcome.status, *replayed)

    def _first(self, outcome: Placed | KeyReused) -> str | None:
        """The order that the key placed, for those who are told of it."""
        if not self._contract.refuses_replays or outcome.order_id is None:
            return None
        return f"{self._contract.id_prefix}{outcome.order_id}"

    def _owned(self, order: OrderContent, scope: "Scope") -> tuple[OrderContent, str]:
        """The caller's order and the scope of its key. Raises Problem 403: it names another (C37).

        Whatever id its contract makes of a name, it belongs to the token's subject; but operators
        place orders for whom the body names.
        """
        caller = caller_of(scope)
        if caller is None:
            return order, _ANONYMOUS
        if caller.serves:
            return order, caller.subject
        named = self._contract.customer_of
        if named is not None and order.customer_id != named(caller.subject):
            raise Problem(403, "not_the_caller", "The order names another customer than the token")
        return msgspec.structs.replace(order, customer_id=caller.customer_id), caller.subject

    def _key(self, values: list[bytes]) -> str:
        """A request without a key is one of its own, where the document allows it."""
        if values or self._contract.key_required:
            return idempotency_key(values)
        return f"{KEYLESS}{secrets.token_hex(16)}"


class OrderReading:
    """GET of one order as a plain ASGI application: clients ask until their order ends."""

    def __init__(self, reads: OrderReads, id_prefix: str = "") -> None:
        self._reads = reads
        self._id_prefix = id_prefix

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:  # noqa: ARG002 - ASGI; there is no body
        """Answer one request."""
        order_id = _order_id(scope["path_params"]["id"].removeprefix(self._id_prefix))
        order = await self._reads.order(order_id, owner=owner_of(scope))
        if order is None:
            raise not_found("order")
        await send_json(send, encoded(order))


def _order_id(text: str) -> UUID:
    """As FastAPI's routes read it, which take further spellings. Raises Problem 400."""
    if _UUID.fullmatch(text):
        return msgspec.convert(text, UUID)
    try:
        return _ANY_UUID.validate_python(text)
    except ValidationError as error:
        detail = error.errors()[0]["msg"].split(",")[0]
        raise invalid([FieldError(detail, parameter="id")]) from None


def surface(
    *,
    intake: Intake,
    reads: OrderReads,
    cancellations: Cancellations,
    contract: OrderContract = SEED_003,
) -> Surface:
    """All routes of the order service."""
    cancelling = _cancelling(cancellations, contract).routes if contract.cancellable else []
    return Surface(
        routes=[*_reading(reads, contract).routes, *cancelling],
        hot=[*_hot(intake, reads, contract)],
        structs=[*contract.structs, Timeline],
    )


def _hot(intake: Intake, reads: OrderReads, contract: OrderContract) -> Iterator[HotRoute]:
    place, read = OrderPlacement(intake, contract), OrderReading(reads, contract.id_prefix)
    for number, path in enumerate((contract.path, *contract.aliases)):
        placing, getting = dict(contract.place_operation), dict(contract.get_operation)
        if number:  # an operation's id is unique
            placing["operationId"] += f"At{number}"
            getting["operationId"] += f"At{number}"
        yield HotRoute("POST", path, place, placing)
        yield HotRoute("GET", path + "/{id}", read, getting)


def _order_id_in_path(contract: OrderContract) -> Any:  # noqa: ANN401 - an annotation
    if not contract.id_prefix:
        return Annotated[UUID, Path(alias="id")]
    bare = BeforeValidator(lambda text: str(text).removeprefix(contract.id_prefix))
    return Annotated[UUID, Path(alias="id"), bare]


def _reading(reads: OrderReads, contract: OrderContract) -> APIRouter:
    router, path = APIRouter(tags=["orders"]), contract.path
    order_id_in_path: Any = _order_id_in_path(contract)
    known: Any = Literal[contract.statuses]
    query_model: Any = create_model(
        "OrderQuery",
        __base__=OrderQuery,
        status=(known | None, None),
    )

    @router.get(
        path,
        operation_id="listOrders",
        summary="Orders, newest first, a page at a time",
        responses={
            **answers(200, contract.page, "A page; `nextCursor` and `Link` lead to the next one"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_orders(request: Request, query: Annotated[query_model, Query()]) -> Response:
        owner = owner_of(request.scope)
        found: Sequence[Shown] = []
        if owner is None or query.customer_id in {None, owner}:
            found = await reads.orders(
                customer_id=owner or query.customer_id,
                status=query.status,
                before=decode_cursor(query.cursor),
                limit=query.limit + 1,
            )
        items, cursor = cut_page(found, query.limit)
        link = link_next(path, dict(request.query_params), cursor)
        return json_answer(contract.page(items, cursor), headers=link)

    @router.get(
        path + "/{id}/timeline",
        operation_id="getOrderTimeline",
        summary="The order's way, oldest entry first",
        responses={
            **answers(200, Timeline, "Every edge that the order walked"),
            **refuses(_400="The id is no UUID", _404="There is no such order"),
        },
    )
    async def get_timeline(request: Request, order_id: order_id_in_path) -> Response:
        entries = await reads.timeline(order_id, owner=owner_of(request.scope))
        if entries is None:
            raise not_found("order")
        return json_answer(Timeline(order_id, tuple(entries)))

    return router


def _correlation_id(contract: OrderContract, given: str) -> str | None:
    """What a client calls its conversation, where the document lets it; else None."""
    text = given.strip()
    return text if contract.client_correlates and _CORRELATION.fullmatch(text) else None


def _cancelling(cancellations: Cancellations, contract: OrderContract) -> APIRouter:
    router = APIRouter(tags=["orders"])
    order_id_in_path: Any = _order_id_in_path(contract)

    @router.post(
        contract.path + "/{id}/cancel",
        status_code=contract.cancel_status,
        operation_id="cancelOrder",
        summary="Cancel on behalf of the customer; may be repeated",
        description="The request is kept as a fact; undoing what was done follows by events.",
        responses={
            **answers(
                contract.cancel_status,
                contract.view,
                "The order as it stands: PENDING until all is undone",
            ),
            **refuses(
                _400="The id is no UUID",
                _404="There is no such order",
                _409="The order is confirmed",
            ),
        },
    )
    async def cancel_order(request: Request, order_id: order_id_in_path) -> Response:
        outcome = await cancellations.cancel(
            order_id,
            traceparent=traceparent_of(request.scope),
            correlation_id=_correlation_id(contract, request.headers.get("x-correlation-id", "")),
            owner=owner_of(request.scope),
        )
        if outcome is None:
            raise not_found("order")
        if isinstance(outcome, NotCancellable):
            raise Problem(409, "order_not_cancellable", f"The order is {outcome.status}")
        return json_answer(outcome, contract.cancel_status)

    return router
