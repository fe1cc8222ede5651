"""HTTP of the payment service."""

from collections.abc import Sequence
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from waybill.commerce.http.surface import Surface, answers, json_answer, refuses
from waybill.commerce.payments.views import PaymentList, PaymentView


class PaymentReads(Protocol):
    """What GET shows. May raise TransientError."""

    async def payments(self, order_id: UUID) -> Sequence[PaymentView]:
        """The payments of an order, oldest first; empty if it has none."""


class PaymentQuery(BaseModel):
    """Whose payments; an unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid")

    order_id: Annotated[UUID, Field(alias="orderId")]


def surface(*, reads: PaymentReads) -> Surface:
    """All routes of the payment service."""
    router = APIRouter(tags=["payments"])

    @router.get(
        "/api/payments",
        operation_id="listPayments",
        summary="The payments of one order",
        responses={
            **answers(200, PaymentList, "The payments; none is no error"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_payments(query: Annotated[PaymentQuery, Query()]) -> Response:
        return json_answer(PaymentList(tuple(await reads.payments(query.order_id))))

    return Surface(routes=router.routes, structs=[PaymentList])
